//! How a stand-in fares at one level, and what that tells of the level.

use rustc_hash::FxHashMap;

use super::level::{MARGIN, Machine, alone, margin_of};
use super::observation::{Half, UnderSla};

/// How much quicker and slower machines are, as a logarithm, that show how a level hangs on the pace.
pub(super) const APART: f64 = 0.06;
/// Limits on what follows first tokens decide alone where those on first tokens leave more room than they do by this, as a logarithm.
const CLEAR: f64 = 0.2;
/// Factor between spreads for which margins are kept, and the power of it below which there is none.
const NODE_RATIO: f64 = 1.5;
const LEAST_POWER: f64 = -30.0;

/// The simulated probes of one level.
#[derive(Debug)]
pub(super) struct Fared {
    draws: Vec<Draw>,
    /// By SLA, what the requests of all draws used up, as if they had been of one.
    pooled: Vec<Pooled>,
    /// Draws on a machine that is quicker by [`APART`], on the one that was measured, and on one that is slower, where that tells more.
    apart: Option<[Vec<Draw>; 3]>,
    /// Margins that were asked for, by SLA, by the bits of the share that is needed, and by spread.
    margins: FxHashMap<(usize, u64, Node), f64>,
}

/// One probe of a level.
#[derive(Debug)]
pub(super) struct Draw {
    /// Engine time in seconds.
    pub seconds: f64,
    /// By SLA.
    pub under: Vec<UnderSla>,
}

/// Requests of several probes under one SLA.
#[derive(Debug)]
struct Pooled {
    /// As [`UnderSla::used`].
    used: Vec<f64>,
    unknown: u32,
}

/// A spread for which margins are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Node {
    None,
    /// [`NODE_RATIO`] to this power.
    Power(i32),
}

impl Fared {
    /// From these draws of one level, of which there is at least one.
    pub fn new(draws: Vec<Draw>, apart: Option<[Vec<Draw>; 3]>) -> Self {
        let slas = draws.first().map_or(0, |draw| draw.under.len());
        let pooled = (0..slas).map(|sla| Pooled::of(&draws, sla)).collect();
        Self { draws, pooled, apart, margins: FxHashMap::default() }
    }

    /// How long a probe takes on average, in seconds.
    pub fn seconds(&self) -> f64 {
        self.draws.iter().map(|draw| draw.seconds).sum::<f64>() / self.draws.len() as f64
    }

    /// The margin of the level (see [`Level::margin`](super::level::Level::margin)).
    ///
    /// It is asked for again after every probe, with another spread each time: it lies on the line between the nearest spreads of a few.
    pub fn margin(&mut self, machine: &Machine, sla: usize, needed: f64, spread: f64) -> f64 {
        let mut margin = |node: Node| self.margin_at(machine, sla, needed, node);
        let power = spread.ln() / NODE_RATIO.ln();
        if power < LEAST_POWER {
            return margin(Node::None);
        }
        let below = power.floor();
        let (low, high) = (NODE_RATIO.powf(below), NODE_RATIO.powf(below + 1.0));
        let part = (spread - low) / (high - low);
        margin(Node::Power(below as i32)) * (1.0 - part) + margin(Node::Power(below as i32 + 1)) * part
    }

    fn margin_at(&mut self, machine: &Machine, sla: usize, needed: f64, node: Node) -> f64 {
        let Self { pooled, margins, .. } = self;
        let Pooled { used, unknown } = &pooled[sla];
        let margin = || margin_of(used, *unknown, machine, needed, node.spread());
        *margins.entry((sla, needed.to_bits(), node)).or_insert_with(margin)
    }

    /// Whether too late a first token is what most keeps requests from being ok, or nearly.
    pub fn is_about_first_tokens(&self, sla: usize, needed: f64) -> bool {
        let margin = |used: &[f64]| {
            let wanted = (needed * used.len() as f64).ceil().max(1.0) as usize;
            used.get(wanted - 1).map_or(f64::INFINITY, |used| -used)
        };
        let mut under = self.draws.iter().map(|draw| &draw.under[sla]);
        under.any(|under| margin(under.half(Half::First)) < margin(under.half(Half::Later)) + CLEAR)
    }

    /// See [`Sway::churn`](super::belief::Sway::churn).
    pub fn churn(&self, sla: usize, needed: f64) -> f64 {
        let alone = self.draws.iter().map(|draw| alone(&draw.under[sla], needed));
        let margins: Vec<f64> = alone.filter(|margin| margin.abs() < MARGIN).collect();
        let count = margins.len() as f64;
        let mean = margins.iter().sum::<f64>() / count;
        let squares: f64 = margins.iter().map(|margin| (margin - mean).powi(2)).sum();
        if count < 2.0 { 0.0 } else { (squares / (count - 1.0)).sqrt() }
    }

    /// See [`Sway::stretch`](super::belief::Sway::stretch).
    pub fn stretch(&self, sla: usize, needed: f64) -> f64 {
        let Some(apart) = &self.apart else { return 1.0 };
        let of = |draw: &Draw| alone(&draw.under[sla], needed).clamp(-MARGIN, MARGIN);
        let [quicker, middle, slower] = apart.each_ref().map(|draws| draws.iter().map(of));
        // What matters is whether a slower machine would still pass, or a quicker one still fail.
        let gap = |((quicker, middle), slower)| if middle < 0.0 { quicker - middle } else { middle - slower };
        let gaps: Vec<f64> = quicker.zip(middle).zip(slower).map(gap).collect();
        (gaps.iter().sum::<f64>() / (gaps.len() as f64 * APART)).max(1.0)
    }
}

impl Pooled {
    fn of(draws: &[Draw], sla: usize) -> Self {
        let under = || draws.iter().map(|draw| &draw.under[sla]);
        let mut used: Vec<f64> = under().flat_map(|under| &under.used).copied().collect();
        used.sort_by(f64::total_cmp);
        Self { used, unknown: under().map(|under| under.unknown).sum() }
    }
}

impl Node {
    fn spread(self) -> f64 {
        match self {
            Self::None => 0.0,
            Self::Power(power) => NODE_RATIO.powi(power),
        }
    }
}
