//! Which cells of two runs answer the same question, and whether they may be compared.

use std::cell::RefCell;
use std::hash::Hash;
use std::rc::Rc;
use std::sync::OnceLock;

use rustc_hash::{FxHashMap, FxHashSet};
use serde_json::{Map, Value};

use super::fields::{
    Across, Difference, EngineFields, Fields, NotAcross, between_engines, between_ladders, differences, digest,
    knows_its_texts, ladder_fields, ladder_identity, other_content, sla_fields,
};
use super::verdict::{Judgement, Reason, Standing, Verdict, judge};
use super::{ComparedLadder, ComparedRun, Options};
use crate::key::Key;
use crate::record::CellRecord;
use crate::sla::{Sla, TokensPerSecond};
use crate::units::Seconds;

/// What keeps cells from being compared; shared, since many cells have the same.
type Obstacles = Rc<[Difference]>;

/// Two runs with what their cells' fields are.
pub(super) struct Judge<'a> {
    options: Options,
    pub baseline: Side<'a>,
    pub candidate: Side<'a>,
    /// What keeps two ladders from being compared, by their indices.
    obstacles: RefCell<FxHashMap<(usize, usize), Obstacles>>,
    /// Digests of SLAs, by their bits: many cells share one.
    slas: RefCell<FxHashMap<[u64; 5], Key>>,
    /// Whether both runs say what the files are that they name.
    by_files: bool,
}

/// One run.
pub(super) struct Side<'a> {
    run: &'a ComparedRun,
    engines: Vec<EngineFields>,
    ladders: Vec<Ladder<'a>>,
    ladder_by_id: FxHashMap<&'a str, usize>,
}

struct Ladder<'a> {
    record: &'a ComparedLadder,
    engine: Option<usize>,
    fields: OnceLock<Fields>,
    /// Digest of all that must not differ, the SLA apart.
    identity: OnceLock<Key>,
}

impl Ladder<'_> {
    /// Made on demand: where keys are equal, nobody asks.
    fn fields(&self) -> &Fields {
        self.fields.get_or_init(|| ladder_fields(self.record))
    }

    fn identity(&self, engines: &[EngineFields], across: &Across, by_files: bool) -> Key {
        let make = || {
            let engine = self.engine.map(|engine| engines[engine].identity(across, by_files));
            let own = ladder_identity(self.record, self.fields(), across, by_files);
            Key::of_keys(&[engine.unwrap_or_else(|| Key::of_bytes(b"")), own])
        };
        *self.identity.get_or_init(make)
    }
}

impl<'a> Side<'a> {
    fn new(run: &'a ComparedRun) -> Self {
        let engines = run.engines.iter().map(|engine| EngineFields::new(run, engine)).collect();
        let by_label: FxHashMap<&str, usize> = run.engines.iter().zip(0..).map(|(e, i)| (&*e.label, i)).collect();
        let ladder = |record: &'a ComparedLadder| Ladder {
            record,
            engine: by_label.get(&*record.engine).copied(),
            fields: OnceLock::new(),
            identity: OnceLock::new(),
        };
        let ladders = run.ladders.iter().map(ladder).collect();
        let ladder_by_id = run.ladders.iter().zip(0..).map(|(ladder, index)| (&*ladder.id, index)).collect();
        Self { run, engines, ladders, ladder_by_id }
    }

    /// The ladder of a cell; none in a file that was tampered with.
    pub fn ladder(&self, cell: &CellRecord) -> Option<&'a ComparedLadder> {
        self.ladder_index(cell).map(|index| self.ladders[index].record)
    }

    pub fn ladder_index(&self, cell: &CellRecord) -> Option<usize> {
        self.ladder_by_id.get(&*cell.ladder).copied()
    }

    /// Whether it is known of all files that it names what they are, wherever they lie.
    fn knows_its_files(&self) -> bool {
        let knows_its_texts = |ladder: &Ladder| knows_its_texts(ladder.record);
        self.engines.iter().all(EngineFields::knows_its_files) && self.ladders.iter().all(knows_its_texts)
    }

    /// Makes what tells its ladders apart, which takes longest of all.
    fn identify(&self, across: &Across, by_files: bool) {
        for ladder in &self.ladders {
            ladder.identity(&self.engines, across, by_files);
        }
    }

    /// KV cache capacity of a cell's engine in tokens.
    pub fn kv_cache_tokens(&self, cell: &CellRecord) -> Option<u64> {
        let engine = self.ladders[self.ladder_index(cell)?].engine?;
        self.run.engines[engine].resolved.as_ref()?.kv_cache_tokens
    }
}

impl<'a> Judge<'a> {
    pub fn new(baseline: &'a ComparedRun, candidate: &'a ComparedRun, options: &Options) -> Self {
        let (baseline, candidate) = (Side::new(baseline), Side::new(candidate));
        Self {
            options: options.clone(),
            by_files: baseline.knows_its_files() && candidate.knows_its_files(),
            baseline,
            candidate,
            obstacles: RefCell::default(),
            slas: RefCell::default(),
        }
    }

    /// That each field that may differ is one.
    pub fn check_across(&self) -> Result<(), NotAcross> {
        if self.options.across.names_nothing() {
            return Ok(());
        }
        if self.options.across.names_kind() {
            return Err(NotAcross::Kind);
        }
        let ladders = [&self.baseline, &self.candidate].into_iter().flat_map(|side| &side.ladders);
        let slas: FxHashMap<_, _> =
            ladders.flat_map(|ladder| &ladder.record.slas).map(|sla| (bits(sla), sla)).collect();
        let slas: Vec<Fields> = slas.into_values().map(sla_fields).collect();
        let mut all: Vec<&Fields> = slas.iter().collect();
        for side in [&self.baseline, &self.candidate] {
            all.extend(side.engines.iter().flat_map(|engine| [&engine.asked, &engine.found]));
            all.extend(side.ladders.iter().map(Ladder::fields));
        }
        let Some(name) = self.options.across.unknown(&all) else { return Ok(()) };
        Err(NotAcross::NoSuchField { name: name.to_owned(), differ: self.differing_fields() })
    }

    /// The fields in which the first ladders of both runs differ.
    pub fn differing_fields(&self) -> Vec<String> {
        let (Some(before), Some(after)) = (self.baseline.ladders.first(), self.candidate.ladders.first()) else {
            return Vec::new();
        };
        let mut found = differences(before.fields(), after.fields());
        if let (Some(before), Some(after)) = (before.engine, after.engine) {
            found.extend(differences(&self.baseline.engines[before].asked, &self.candidate.engines[after].asked));
        }
        found.into_iter().map(|difference| difference.field).collect()
    }

    /// What can be said of a pair of cells.
    pub fn judge(&self, baseline: &CellRecord, candidate: &CellRecord) -> Judgement {
        let obstacles = self.obstacles(baseline, candidate);
        if obstacles.is_empty() {
            judge(&Standing::of(baseline), &Standing::of(candidate), self.options.threshold)
        } else {
            Judgement::bare(Verdict::Incomparable, Reason::Differs(obstacles))
        }
    }

    fn obstacles(&self, baseline: &CellRecord, candidate: &CellRecord) -> Obstacles {
        let indices = self.baseline.ladder_index(baseline).zip(self.candidate.ladder_index(candidate));
        let Some((before, after)) = indices else { return [other_content("the ladders, which one run lacks,")].into() };
        let mut known = self.obstacles.borrow_mut();
        let known = known.entry((before, after)).or_insert_with(|| self.between_ladders(before, after).into());
        let across = &self.options.across;
        if baseline.sla == candidate.sla {
            return Rc::clone(known);
        }
        let sla = differences(&sla_fields(&baseline.sla), &sla_fields(&candidate.sla));
        known.iter().cloned().chain(sla.into_iter().filter(|d| !across.covers(&d.field))).collect()
    }

    fn between_ladders(&self, before: usize, after: usize) -> Vec<Difference> {
        let (before, after) = (&self.baseline.ladders[before], &self.candidate.ladders[after]);
        let across = &self.options.across;
        let engines =
            before.engine.zip(after.engine).map(|(b, a)| (&self.baseline.engines[b], &self.candidate.engines[a]));
        let mut all = engines.map_or_else(Vec::new, |(before, after)| between_engines(before, after, across));
        if before.record.key == after.record.key {
            return all;
        }
        let same_engine = engines.is_some_and(|(before, after)| before.key == after.key);
        let (before, after) = ((before.record, before.fields()), (after.record, after.fields()));
        all.extend(between_ladders(before, after, same_engine, across));
        all
    }

    /// Digests of all that must not differ between cells that are compared: of the ladder, and of the SLA.
    fn identity(&self, side: &Side<'_>, cell: &CellRecord) -> (Option<Key>, Key) {
        let ladder = side.ladder_index(cell).map(|index| &side.ladders[index]);
        (ladder.map(|ladder| ladder.identity(&side.engines, &self.options.across, self.by_files)), self.sla(&cell.sla))
    }

    /// Digest of what must not differ of an SLA.
    fn sla(&self, sla: &Sla) -> Key {
        *self.slas.borrow_mut().entry(bits(sla)).or_insert_with(|| digest(&sla_fields(sla), &self.options.across))
    }

    /// Digest of a cell's place: what a person takes for the same row of the two tables.
    fn place(&self, cell: &CellRecord) -> Key {
        let across = &self.options.across;
        let axes: Map<String, Value> = cell
            .axes
            .iter()
            .filter(|(name, _)| !across.covers(name) && !name.starts_with("sla."))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        Key::of_keys(&[Key::of_owned(Value::Object(axes)), self.sla(&cell.sla)])
    }
}

/// What tells SLAs apart.
fn bits(sla: &Sla) -> [u64; 5] {
    let bits = |value: Option<f64>| value.map_or(u64::MAX, f64::to_bits);
    let limits =
        [sla.tpot.map(Seconds::get), sla.e2e.map(Seconds::get), sla.min_tokens_per_second.map(TokensPerSecond::get)];
    let [tpot, e2e, rate] = limits.map(bits);
    [sla.ok_rate.get().to_bits(), sla.ttft.get().to_bits(), tpot, e2e, rate]
}

/// For each cell of the candidate, the cell of the baseline that answers the same question.
///
/// By key first, then by all that must not differ, last by place: those of the last way are told apart by what differs.
/// Where several cells of a run answer one question, none of them is paired.
pub(super) fn pair(judge: &Judge<'_>) -> Vec<Option<usize>> {
    let mut pairs = Pairs {
        open: (0..judge.baseline.run.cells.len()).collect(),
        partners: vec![None; judge.candidate.run.cells.len()],
        baseline: &judge.baseline.run.cells,
        candidate: &judge.candidate.run.cells,
    };
    pairs.by(|cell| cell.key, |cell| cell.key);
    if pairs.is_done() {
        return pairs.partners;
    }
    let (baseline, candidate, across) = (&judge.baseline, &judge.candidate, &judge.options.across);
    let by_files = judge.by_files;
    rayon::join(|| baseline.identify(across, by_files), || candidate.identify(across, by_files));
    pairs.by(|cell| judge.identity(&judge.baseline, cell), |cell| judge.identity(&judge.candidate, cell));
    pairs.by(|cell| judge.place(cell), |cell| judge.place(cell));
    pairs.partners
}

struct Pairs<'a> {
    /// Cells of the baseline without a partner.
    open: Vec<usize>,
    partners: Vec<Option<usize>>,
    baseline: &'a [CellRecord],
    candidate: &'a [CellRecord],
}

impl Pairs<'_> {
    /// Whether one run has no cell left to be paired.
    fn is_done(&self) -> bool {
        self.open.is_empty() || self.partners.iter().all(Option::is_some)
    }

    /// Pairs what is left by a name that each cell has.
    fn by<K: Eq + Hash>(&mut self, before: impl Fn(&CellRecord) -> K, after: impl Fn(&CellRecord) -> K) {
        let left = self.partners.iter().zip(0..).filter(|(partner, _)| partner.is_none()).map(|(_, index)| index);
        let candidates = unique(left, |index: usize| after(&self.candidate[index]));
        let baselines = unique(self.open.iter().copied(), |index| before(&self.baseline[index]));
        for (name, candidate) in candidates {
            if let (Some(candidate), Some(Some(baseline))) = (candidate, baselines.get(&name)) {
                self.partners[candidate] = Some(*baseline);
            }
        }
        let taken: FxHashSet<usize> = self.partners.iter().flatten().copied().collect();
        self.open.retain(|index| !taken.contains(index));
    }
}

/// By name, the only one that has it, or none where several do.
fn unique<K: Eq + Hash>(
    indices: impl Iterator<Item = usize>,
    name: impl Fn(usize) -> K,
) -> FxHashMap<K, Option<usize>> {
    let mut by_name = FxHashMap::default();
    by_name.reserve(indices.size_hint().1.unwrap_or(0));
    for index in indices {
        by_name.entry(name(index)).and_modify(|only| *only = None).or_insert(Some(index));
    }
    by_name
}
