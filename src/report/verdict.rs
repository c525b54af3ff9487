//! The verdict on a report in one line, which states no more than the weights support.

use super::model::{Report, ReportTensor};
use super::started::start_words;
use crate::analysis::{Evidence, Threshold};
use crate::report::condition::condition;
use crate::text::{percentage, significant, thousands};

/// What a report comes to. How it is said differs from a table to a page.
pub(super) enum Standing {
    /// No tensor was compared.
    NothingCompared,
    /// The checkpoint did not start here, as a sentence says.
    Elsewhere(String),
    /// Some weights sleep.
    Sleeping,
    /// None can be called so: not every tensor has a threshold.
    Undecided,
    /// None sleeps.
    Awake,
}

impl Standing {
    pub fn of(report: &Report) -> Self {
        let sleeping = report.totals.changes.sleeping_weights.unwrap_or(0);
        let undecided = |tensor: &ReportTensor| tensor.threshold == Some(Threshold::Nothing);
        if report.totals.compared_weights == 0 {
            Self::NothingCompared
        } else if let Some(elsewhere) = start_words(report) {
            // What was not the start says nothing of what training changed.
            Self::Elsewhere(elsewhere)
        } else if sleeping > 0 {
            Self::Sleeping
        } else if report.tensors.iter().any(undecided) {
            Self::Undecided
        } else {
            Self::Awake
        }
    }
}

/// The tensors that were compared in one way.
struct Basis<'a> {
    decay: f64,
    threshold: Threshold,
    /// What factor or threshold was decided on.
    evidence: Option<&'a Evidence>,
    sleeping: u64,
}

impl Basis<'_> {
    /// The evidence, where it is about the sleeping weights.
    fn proof(&self) -> Option<&Evidence> {
        self.evidence.filter(|e| e.found && agrees(e, self.threshold, self.decay))
    }

    fn is_exact(&self) -> bool {
        is_exact(self.threshold, self.decay)
    }

    /// What "they" are, as a main clause.
    fn clause(&self) -> String {
        let proof = self.proof().map(|e| format!(" ({})", strength(e, self.sleeping))).unwrap_or_default();
        if self.is_exact() {
            return format!("still have exactly their initial value{proof}");
        }
        if self.proof().is_some() {
            return format!("equal {} x their initial value{proof}", significant(self.decay, 6));
        }
        format!("are within the threshold, {}", self.limit())
    }

    /// The threshold as a condition, with the factor in it.
    fn limit(&self) -> String {
        let told = if self.evidence.is_some_and(|e| e.found) { ", inferred from the weights" } else { "" };
        match self.decay {
            1.0 => condition(self.threshold, 1.0),
            s => format!("{} with s = {}{told}", condition(self.threshold, s), significant(s, 6)),
        }
    }
}

/// Whether a sleeping weight has its initial value and no other.
fn is_exact(threshold: Threshold, decay: f64) -> bool {
    decay == 1.0
        && matches!(threshold, Threshold::Absolute(0.0) | Threshold::Relative(0.0) | Threshold::Ulps(0))
}

/// Whether a threshold is the one that the evidence gives.
fn agrees(evidence: &Evidence, threshold: Threshold, decay: f64) -> bool {
    evidence.threshold == threshold
        || (is_exact(evidence.threshold, evidence.decay) && is_exact(threshold, decay))
}

/// The evidence that a tensor's sleeping weights are untouched ones: there is some, and
/// its threshold was used.
pub(super) fn proof<'a>(report: &'a Report, tensor: &ReportTensor) -> Option<&'a Evidence> {
    let (threshold, decay) = tensor.threshold.zip(tensor.decay)?;
    report.evidence.get(tensor.evidence?).filter(|e| e.found && agrees(e, threshold, decay))
}

/// How clearly sleeping weights stand out: `peak 7,773 times its background; about 8 expected by chance`.
fn strength(evidence: &Evidence, sleeping: u64) -> String {
    let peak = match evidence.peak_live_expected {
        live if live > 0.0 => {
            format!("peak {} times its background", times(evidence.peak as f64 / live))
        }
        _ => format!("peak of {} with none next to it", thousands(evidence.peak)),
    };
    // The evidence is of a sample where there are very many weights.
    let scale = if evidence.sleeping == 0 { 1.0 } else { sleeping as f64 / evidence.sleeping as f64 };
    let chance = match evidence.live_expected * scale {
        0.0 => "none".to_owned(),
        n if n < 0.5 => "fewer than 1".to_owned(),
        n => format!("about {}", thousands(n.round() as u64)),
    };
    format!("{peak}; {chance} expected by chance")
}

/// To four digits: what chance makes of a background says no more.
fn times(ratio: f64) -> String {
    let rounded: f64 = format!("{ratio:.3e}").parse().unwrap_or(ratio);
    thousands(rounded.round() as u64)
}

/// The verdict on a report.
pub fn verdict(report: &Report) -> String {
    let totals = &report.totals;
    let (sleeping, compared) = (totals.changes.sleeping_weights.unwrap_or(0), totals.compared_weights);
    let bases = bases(report);
    let mut text = match Standing::of(report) {
        Standing::NothingCompared => {
            return "No tensor was compared: no rule gives an initial value.".to_owned();
        }
        Standing::Elsewhere(elsewhere) if sleeping == 0 => return elsewhere,
        Standing::Elsewhere(elsewhere) => {
            let head = share_of(sleeping, compared);
            return format!("{elsewhere} {head} are within the threshold of them.");
        }
        Standing::Sleeping => some(&bases, sleeping, compared),
        Standing::Undecided => "No weight can be called sleeping:".to_owned(),
        Standing::Awake => none(&bases, compared),
    };
    text.push_str(&unused(&bases));
    text.push_str(&undecided(report, &bases, sleeping));
    text
}

fn bases(report: &Report) -> Vec<Basis<'_>> {
    let mut bases: Vec<Basis<'_>> = Vec::new();
    for tensor in &report.tensors {
        let (Some(threshold), Some(decay)) = (tensor.threshold, tensor.decay) else { continue };
        let evidence = tensor.evidence.and_then(|n| report.evidence.get(n));
        let basis = Basis { decay, threshold, evidence, sleeping: 0 };
        let like = |b: &Basis<'_>| {
            (b.decay, b.threshold, b.evidence.map(std::ptr::from_ref))
                == (decay, threshold, evidence.map(std::ptr::from_ref))
        };
        let place = bases.iter().position(like).unwrap_or_else(|| {
            bases.push(basis);
            bases.len() - 1
        });
        bases[place].sleeping += tensor.changes.sleeping_weights.unwrap_or(0);
    }
    bases
}

fn share_of(sleeping: u64, compared: u64) -> String {
    let share = percentage(100.0 * super::share(sleeping, compared));
    format!("{} of {} weights ({share} %)", thousands(sleeping), thousands(compared))
}

fn some(bases: &[Basis<'_>], sleeping: u64, compared: u64) -> String {
    let mut bases: Vec<&Basis<'_>> = bases.iter().filter(|b| b.sleeping > 0).collect();
    bases.sort_by_key(|b| std::cmp::Reverse(b.sleeping));
    let head = share_of(sleeping, compared);
    match bases[..] {
        [only] if only.is_exact() => format!("{head} are sleeping: they {}.", only.clause()),
        [only] if only.proof().is_some() => {
            format!("{head} were touched only by weight decay: they {}.", only.clause())
        }
        [only] => format!("{head} {}. This includes weights that only moved slowly.", only.clause()),
        _ => {
            let clauses: Vec<String> =
                bases.iter().map(|b| format!("{} {}", thousands(b.sleeping), b.clause())).collect();
            format!("{head} are sleeping: {}.", clauses.join("; "))
        }
    }
}

fn none(bases: &[Basis<'_>], compared: u64) -> String {
    let compared = thousands(compared);
    let hidden = if bases.iter().all(|b| b.decay == 1.0 && b.evidence.is_none()) { HIDDEN } else { "" };
    match bases {
        [only] if only.is_exact() => {
            format!("None of {compared} weights is sleeping: training changed every one.{hidden}")
        }
        [only] => format!("None of {compared} weights is within the threshold, {}.{hidden}", only.limit()),
        _ => format!("None of {compared} weights is within its threshold.{hidden}"),
    }
}

const HIDDEN: &str = " If there was weight decay, it hides the weights that it alone moved: `analyze.decay: \
                      auto` looks for its factor.";

/// What the weights told and was not asked for.
fn unused(bases: &[Basis<'_>]) -> String {
    let unused = bases.iter().filter(|b| b.proof().is_none()).filter_map(|b| b.evidence).filter(|e| e.found);
    // Several groups of tensors may share one evidence, each with its own threshold.
    let mut seen: Vec<&Evidence> = Vec::new();
    for evidence in unused {
        if !seen.iter().any(|e| std::ptr::eq(*e, evidence)) {
            seen.push(evidence);
        }
    }
    match seen.iter().map(|e| e.sleeping).sum() {
        0 => String::new(),
        n => format!(
            " The weights themselves show {} untouched ones: use `analyze.threshold: auto`.",
            thousands(n)
        ),
    }
}

/// What the weights were asked and did not tell.
fn undecided(report: &Report, bases: &[Basis<'_>], sleeping: u64) -> String {
    let silent: Vec<&Evidence> = report.evidence.iter().filter(|e| !e.found).collect();
    let Some(first) = silent.first() else { return String::new() };
    let looked_at = thousands(silent.iter().map(|e| e.weights).sum());
    if !bases.iter().any(|b| b.threshold == Threshold::Nothing) {
        return format!(" No decay factor stands out among {looked_at} weights, so 1 is used.");
    }
    let factor = match (first.decay_sought, first.decay) {
        (true, _) => " at any decay factor".to_owned(),
        (false, 1.0) => String::new(),
        (false, s) => format!(" at the decay factor {}", significant(s, 6)),
    };
    let value = match first.decay {
        1.0 => "initial value".to_owned(),
        s => format!("initial value times {}", significant(s, 6)),
    };
    let exact = match silent.iter().map(|e| e.histogram.zero).sum() {
        0 => format!("none has exactly its {value}"),
        1 => format!("1 has exactly its {value}"),
        n => format!("{} have exactly their {value}", thousands(n)),
    };
    let reason = format!("of {looked_at} examined, none stands out from the live ones{factor} ({exact})");
    let hidden = if first.decay_sought || first.decay != 1.0 { "" } else { HIDDEN };
    if sleeping > 0 {
        format!(" Of the others, none can be called sleeping: {reason}.{hidden}")
    } else {
        format!(" {reason}. This is a result, not a failure.{hidden}")
    }
}
