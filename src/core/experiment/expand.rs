//! The product of all axes, less what is excluded, plus what is included; every point with its legal values.
//!
//! A section (engine, workload, search, SLA) is read once for each distinct combination of the axes that touch it, not
//! once for each cell: a million cells of a hundred engines read a hundred engines.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::axes::{Axes, Axis, Section, Setting};
use super::error::{Fault, Found, Span};
use super::grid::{ABSENT, AxisColumn, AxisTable, Distinct, Grid, Point};
use super::resolve::{FromTables, Resolved, Resolver, Tokens};
use super::rules::Rule;
use super::tree::Table;
use super::{Engine, SearchSettings, Workload};
use crate::key::Key;
use crate::load::Load;
use crate::sla::Sla;

/// More cells than this are a mistake: at a minute each they would take seven years.
pub(super) const MAX_CELLS: u64 = 4_000_000;

/// Expands the axes of a file over its tables.
pub(super) fn expand(root: &Table, axes: Axes, resolver: &mut Resolver<'_>, found: &mut Found) -> Option<Grid> {
    let before = found.count();
    if let Some(fault) = too_large(&axes, resolver.home) {
        found.push(fault);
        return None;
    }
    let mut expansion = Expansion::new(root, &axes, resolver);
    expansion.product(found);
    if axes.is_as_written {
        expansion.report_idle_excludes(found);
    }
    expansion.included(found);
    if !expansion.is_any_left && axes.is_sound && found.count() == before {
        let at = axes.excludes.first().map_or(expansion.resolver.home, |rule| rule.at);
        found.push(Fault::new(at, "no cell is left to measure", "everything is excluded"));
    }
    if found.count() > before {
        return None;
    }
    let Expansion { pools, points, rows, .. } = expansion;
    let columns = axes.columns.list.into_iter();
    let columns = columns.map(|column| AxisColumn { name: column.path.join("."), values: column.values }).collect();
    Some(pools.into_grid(Arc::new(AxisTable::new(columns, rows)), points))
}

/// A matrix that is a mistake. Each inclusion may run through all lists.
fn too_large(axes: &Axes, home: Span) -> Option<Fault> {
    let product = |mut axes: std::slice::Iter<'_, Axis>, of: fn(&Axis) -> bool| {
        axes.try_fold(1u64, |size, axis| if of(axis) { size.checked_mul(axis.values.len() as u64) } else { Some(size) })
    };
    let lists = product(axes.axes.iter(), |axis| axis.is_list);
    let included = lists.and_then(|size| size.checked_mul(axes.includes.len() as u64));
    let size = product(axes.axes.iter(), |_| true).and_then(|size| size.checked_add(included?));
    if size.is_some_and(|size| size <= MAX_CELLS) {
        return None;
    }
    let at = axes.axes.first().map_or(home, |axis| axis.key_at);
    let size = size.map_or("far more".to_owned(), |size| size.to_string());
    let label = format!("axes and inclusions make up to {size} cells; expected at most {MAX_CELLS}");
    Some(Fault::new(at, "the matrix is too large", label))
}

/// Where a point comes from.
#[derive(Clone, Copy)]
enum Origin {
    /// The product of the axes, at this number of it.
    Product(u64),
    /// An inclusion, by index.
    Included(usize),
}

struct Expansion<'a, 'r> {
    axes: &'a Axes,
    resolver: &'a mut Resolver<'r>,
    pools: Pools,
    points: Vec<Point>,
    rows: Vec<u32>,
    /// Sets of inclusions that apply to a point, by number; the first is empty.
    patches: Vec<Vec<u32>>,
    patch_numbers: FxHashMap<Vec<u32>, u32>,
    /// Whether each exclusion takes a point away.
    excluded: Vec<bool>,
    /// Whether each inclusion fits a point of the product.
    fitted: Vec<bool>,
    origins: FxHashMap<Point, Origin>,
    too_long: FxHashSet<(u32, u32)>,
    /// SLAs and workloads of which it was said that no request could miss the limit.
    never_missed: FxHashSet<(u32, u32)>,
    /// Whether there is any point, legal or not.
    is_any_left: bool,
}

/// The distinct values of all sections.
struct Pools {
    engines: Pool<Engine>,
    workloads: Pool<Workload>,
    searches: Pool<SearchSettings>,
    slas: Pool<Sla>,
}

impl Pools {
    fn into_grid(self, axes: Arc<AxisTable>, points: Vec<Point>) -> Grid {
        Grid {
            axes,
            engines: self.engines.distinct,
            workloads: self.workloads.distinct,
            searches: self.searches.distinct,
            slas: self.slas.distinct,
            points,
        }
    }
}

/// The distinct values of one section.
struct Pool<T> {
    /// Its tables as the file gives them, without axes.
    base: Table,
    /// The axes that touch it, by index.
    touching: Vec<usize>,
    /// By place on these axes and set of inclusions; no value where it cannot be read.
    known: FxHashMap<(u64, u32), Option<u32>>,
    latest: Option<((u64, u32), Option<u32>)>,
    by_key: FxHashMap<Key, u32>,
    distinct: Vec<Distinct<T>>,
    tokens: Vec<Option<Tokens>>,
    limits_at: Vec<Option<Span>>,
    prefixes_at: Vec<Option<Span>>,
}

impl<T: FromTables> Pool<T> {
    fn new(root: &Table, axes: &[Axis]) -> Self {
        let mut base = Table::default();
        for entry in root.iter().filter(|entry| Section::of_table(&entry.key) == Some(T::SECTION)) {
            base.push(entry.clone());
        }
        let touching = axes.iter().enumerate().filter(|(_, axis)| axis.section == T::SECTION).map(|(i, _)| i).collect();
        Self {
            base,
            touching,
            known: FxHashMap::default(),
            latest: None,
            by_key: FxHashMap::default(),
            distinct: Vec::new(),
            tokens: Vec::new(),
            limits_at: Vec::new(),
            prefixes_at: Vec::new(),
        }
    }

    /// The value at a place, read if it is new.
    fn at(&mut self, place: &Where<'_>, resolver: &mut Resolver<'_>, found: &mut Found) -> Option<u32> {
        let number = |number, &axis: &usize| {
            number * place.axes[axis].values.len() as u64 + u64::from(place.choice[axis].unwrap_or(0))
        };
        let memo = (self.touching.iter().fold(0, number), place.patch);
        if let Some((_, value)) = self.latest.filter(|(latest, _)| *latest == memo) {
            return value;
        }
        let value = match self.known.get(&memo) {
            Some(value) => *value,
            None => {
                let value = self.build(place, resolver, found);
                self.known.insert(memo, value);
                value
            }
        };
        self.latest = Some((memo, value));
        value
    }

    fn build(&mut self, place: &Where<'_>, resolver: &mut Resolver<'_>, found: &mut Found) -> Option<u32> {
        let mut tables = self.base.clone();
        for &index in &self.touching {
            let axis = &place.axes[index];
            if let Some(choice) = place.choice[index] {
                tables.put(&axis.path, axis.key_at, &axis.values[choice as usize].node);
            }
        }
        for Setting { path, outer_at, key_at, node } in place.settings.iter().copied().flatten() {
            if path.first().and_then(|table| Section::of_table(table)) == Some(T::SECTION) {
                tables.put_at(path, outer_at, *key_at, node);
            }
        }
        let resolved = T::from_tables(resolver, &tables, found)?;
        let next = self.distinct.len() as u32;
        let index = *self.by_key.entry(resolved.key).or_insert(next);
        if index == next {
            let Resolved { value, key, files, tokens, limit_at, prefix_at } = resolved;
            self.distinct.push(Distinct { value: Arc::new(value), key, files });
            self.tokens.push(tokens);
            self.limits_at.push(limit_at);
            self.prefixes_at.push(prefix_at);
        }
        Some(index)
    }
}

/// A place among the axes, with the inclusions that apply there.
struct Where<'a> {
    axes: &'a [Axis],
    choice: &'a [Option<u32>],
    patch: u32,
    settings: Vec<&'a [Setting]>,
}

impl<'a, 'r> Expansion<'a, 'r> {
    fn new(root: &Table, axes: &'a Axes, resolver: &'a mut Resolver<'r>) -> Self {
        let pools = Pools {
            engines: Pool::new(root, &axes.axes),
            workloads: Pool::new(root, &axes.axes),
            searches: Pool::new(root, &axes.axes),
            slas: Pool::new(root, &axes.axes),
        };
        Self {
            axes,
            resolver,
            pools,
            points: Vec::new(),
            rows: Vec::new(),
            patches: vec![Vec::new()],
            patch_numbers: FxHashMap::from_iter([(Vec::new(), 0)]),
            excluded: vec![false; axes.excludes.len()],
            fitted: vec![false; axes.includes.len()],
            origins: FxHashMap::default(),
            too_long: FxHashSet::default(),
            never_missed: FxHashSet::default(),
            is_any_left: false,
        }
    }

    /// The points of the product, the last axis fastest. Where inclusions are all that `[matrix]` says, they are the
    /// matrix.
    fn product(&mut self, found: &mut Found) {
        let axes = self.axes;
        let speaks_of_axes = |rule: &Rule| !rule.conditions.is_empty();
        let is_only_lists = axes.axes.iter().all(|axis| axis.is_list);
        if is_only_lists && !axes.includes.is_empty() && !axes.includes.iter().any(speaks_of_axes) {
            return;
        }
        let mut choice = vec![Some(0); self.axes.axes.len()];
        let mut row = Vec::new();
        for number in 0.. {
            self.fill(&choice, &mut row);
            if !self.is_excluded(&row) {
                let patch = self.fitting(&row);
                self.add(&choice, patch, Origin::Product(number), &mut row, found);
            }
            if !advance(&mut choice, &self.axes.axes) {
                return;
            }
        }
    }

    /// Points of inclusions that fit nowhere in the product; lists that they do not name are run through.
    fn included(&mut self, found: &mut Found) {
        let mut row = Vec::new();
        for index in 0..self.axes.includes.len() {
            if self.fitted[index] {
                continue;
            }
            let rule = &self.axes.includes[index];
            let patch = self.patch(vec![index as u32]);
            let named = |axis: &Axis| {
                let fills = axis.values.iter().flat_map(|value| &value.fills);
                fills.into_iter().any(|(column, _)| rule.conditions.iter().any(|(named, _)| named == column))
            };
            let start = |axis: &Axis| (axis.is_list && !named(axis)).then_some(0);
            let mut choice: Vec<_> = self.axes.axes.iter().map(start).collect();
            loop {
                self.fill(&choice, &mut row);
                self.add(&choice, patch, Origin::Included(index), &mut row, found);
                if !advance(&mut choice, &self.axes.axes) {
                    break;
                }
            }
        }
    }

    /// Sets a row to what the chosen values of the axes fill in.
    fn fill(&self, choice: &[Option<u32>], row: &mut Vec<u32>) {
        row.clear();
        row.resize(self.axes.columns.list.len(), ABSENT);
        for (axis, choice) in self.axes.axes.iter().zip(choice) {
            let fills = choice.iter().flat_map(|choice| &axis.values[*choice as usize].fills);
            fills.for_each(|(column, value)| row[*column] = *value);
        }
    }

    fn is_excluded(&mut self, row: &[u32]) -> bool {
        let mut is_excluded = false;
        for (rule, excluded) in self.axes.excludes.iter().zip(&mut self.excluded) {
            let matches = rule.matches(row);
            *excluded |= matches;
            is_excluded |= matches;
        }
        is_excluded
    }

    /// The set of inclusions that fit a point of the product.
    fn fitting(&mut self, row: &[u32]) -> u32 {
        if self.axes.includes.is_empty() {
            return 0;
        }
        let fits = |(index, rule): (usize, &Rule)| rule.matches(row).then_some(index as u32);
        let fitting: Vec<u32> = self.axes.includes.iter().enumerate().filter_map(fits).collect();
        fitting.iter().for_each(|index| self.fitted[*index as usize] = true);
        self.patch(fitting)
    }

    /// The number of a set of inclusions.
    fn patch(&mut self, rules: Vec<u32>) -> u32 {
        let next = self.patches.len() as u32;
        let number = *self.patch_numbers.entry(rules.clone()).or_insert(next);
        if number == next {
            self.patches.push(rules);
        }
        number
    }

    /// Adds a point, if all of its sections can be read.
    fn add(&mut self, choice: &[Option<u32>], patch: u32, origin: Origin, row: &mut [u32], found: &mut Found) {
        self.is_any_left = true;
        let axes: &'a Axes = self.axes;
        let rules = self.patches[patch as usize].iter().map(|index| &axes.includes[*index as usize]);
        let settings = rules.clone().map(|rule| &*rule.settings).collect();
        rules.flat_map(|rule| rule.conditions.iter().chain(&rule.additions)).for_each(|(c, value)| row[*c] = *value);
        for (value, base) in row.iter_mut().zip(&axes.base_row) {
            if *value == ABSENT {
                *value = base.unwrap_or(ABSENT);
            }
        }
        let place = Where { axes: &axes.axes, choice, patch, settings };
        let engine = self.pools.engines.at(&place, self.resolver, found);
        let workload = self.pools.workloads.at(&place, self.resolver, found);
        let search = self.pools.searches.at(&place, self.resolver, found);
        let sla = self.pools.slas.at(&place, self.resolver, found);
        let (Some(engine), Some(workload), Some(search), Some(sla)) = (engine, workload, search, sla) else { return };
        let point = Point { engine, workload, search, sla };
        self.check_length(point, found);
        self.check_limit(point, found);
        self.check_prefix(point, found);
        if let Some(first) = self.origins.get(&point) {
            if axes.is_sound {
                let fault = self.same_cell(*first, origin);
                found.push(fault);
            }
            return;
        }
        self.origins.insert(point, origin);
        self.points.push(point);
        self.rows.extend_from_slice(row);
    }

    /// A request must fit into the longest context that the engine allows, or into its KV cache.
    fn check_length(&mut self, point: Point, found: &mut Found) {
        let limit = self.pools.engines.tokens[point.engine as usize];
        let needed = self.pools.workloads.tokens[point.workload as usize];
        let (Some(limit), Some(needed)) = (limit, needed) else { return };
        if needed.count > limit.count && self.too_long.insert((point.engine, point.workload)) {
            let message = format!("{} is {}, and `{}` is {}", needed.said_by, needed.count, limit.said_by, limit.count);
            let fault = Fault::new(needed.at, message, "no such request fits").related(limit.at, "the most that fits");
            let help = format!("raise `{}`, or leave these cells out by [[matrix.exclude]]", limit.said_by);
            found.push(fault.help(help));
        }
    }

    /// A limit on what follows the first token must be one that a request may miss.
    fn check_limit(&mut self, point: Point, found: &mut Found) {
        let Some(at) = self.pools.slas.limits_at[point.sla as usize] else { return };
        let workload = &self.pools.workloads.distinct[point.workload as usize].value;
        let sla = &self.pools.slas.distinct[point.sla as usize].value;
        let Some(help) = never_missed(sla, workload) else { return };
        if self.never_missed.insert((point.sla, point.workload)) {
            let fault =
                Fault::new(at, "no request could ever miss this limit", "it would be met whatever the engine does");
            found.push(fault.help(help));
        }
    }

    /// The simulator computes every prompt whole: what it said of a shared prefix would be untrue.
    fn check_prefix(&self, point: Point, found: &mut Found) {
        let Some(at) = self.pools.workloads.prefixes_at[point.workload as usize] else { return };
        if let Engine::Sim(_) = *self.pools.engines.distinct[point.engine as usize].value {
            let message = "the simulator knows of no prefix cache: `shared_prefix` must be 0 with `kind = \"sim\"`";
            let fault = Fault::new(at, message, "it would compute every prompt whole");
            found.push(fault.help("set it to 0, or leave these cells out by [[matrix.exclude]]"));
        }
    }

    fn same_cell(&self, first: Origin, second: Origin) -> Fault {
        let place = |origin: Origin, other: Origin| match (origin, other) {
            (Origin::Included(index), _) => self.axes.includes[index].at,
            (Origin::Product(mine), Origin::Product(theirs)) => self.value_at(mine, Some(theirs)),
            (Origin::Product(mine), Origin::Included(_)) => self.value_at(mine, None),
        };
        let fault = Fault::new(place(second, first), "two cells are the same in meaning", "this one");
        fault.related(place(first, second), "and this one")
    }

    /// Where a point of the product says what it is: the value on the first axis on which it differs from the other.
    fn value_at(&self, number: u64, other: Option<u64>) -> Span {
        let mine = self.choice(number);
        let theirs = other.map(|other| self.choice(other));
        let differs = |axis: &usize| theirs.as_ref().is_none_or(|theirs| theirs[*axis] != mine[*axis]);
        let axis = (0..mine.len()).find(differs);
        axis.map_or(self.resolver.home, |axis| self.axes.axes[axis].values[mine[axis]].node.at)
    }

    /// The values on each axis of a point of the product.
    fn choice(&self, mut number: u64) -> Vec<usize> {
        let mut choice: Vec<usize> = Vec::with_capacity(self.axes.axes.len());
        for axis in self.axes.axes.iter().rev() {
            let length = axis.values.len() as u64;
            choice.push((number % length) as usize);
            number /= length;
        }
        choice.reverse();
        choice
    }

    fn report_idle_excludes(&self, found: &mut Found) {
        for (rule, _) in self.axes.excludes.iter().zip(&self.excluded).filter(|(_, excluded)| !**excluded) {
            found.push(Fault::new(rule.at, "this exclusion matches no cell", "no point of the axes is like this"));
        }
    }
}

/// What to do where requests of this workload show nothing of what an SLA limits after the first token.
fn never_missed(sla: &Sla, workload: &Workload) -> Option<String> {
    let limit = sla.tpot_limit()?;
    let or_else = "leave these cells out by [[matrix.exclude]], or take the limit out";
    if workload.output_tokens < 2 {
        return Some(format!("no token follows the first: let requests have 2 `output_tokens` or more, {or_else}"));
    }
    let is_held = workload.load == Load::Burst && !sla.judges_the_end();
    let hold = workload.hold.laid_down();
    (is_held && hold.get() <= limit).then(|| {
        format!("requests are held for {hold}, no longer than one token may take: raise `workload.hold`, {or_else}")
    })
}

impl Rule {
    /// Whether a point of the product is one that the rule speaks of.
    fn matches(&self, row: &[u32]) -> bool {
        self.conditions.iter().all(|(column, value)| row[*column] == *value)
    }
}

/// Goes to the next point, the last axis fastest; false after the last one.
fn advance(choice: &mut [Option<u32>], axes: &[Axis]) -> bool {
    for (choice, axis) in choice.iter_mut().zip(axes).rev() {
        let Some(index) = choice else { continue };
        *index += 1;
        if (*index as usize) < axis.values.len() {
            return true;
        }
        *index = 0;
    }
    false
}
