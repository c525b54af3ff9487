//! What is inferred about the tensors of a checkpoint, and how it is mended.

use std::collections::BTreeMap;

use safetensors::Dtype;

use super::classify::{TensorKind, classify};
use super::cover::Names;
use super::family::{Family, Guess, OUT_IN, Topic};
use super::group::{Layer, Numbers, Rule, group};
use super::name::{Tensors, literal};
use super::number::number;
use super::yaml::yaml;
use crate::rules::{Pattern, Rule as Matcher, RuleSet};
use crate::tensor::{FloatDtype, Shape};

/// What was inferred about the tensors of a checkpoint.
#[derive(Debug)]
pub struct Inference<'t> {
    pub(super) family: Family,
    /// The floating-point tensors, in name order; the others pass through and need no rule.
    pub(super) tensors: Vec<(&'t str, &'t Shape)>,
    pub(super) rules: Vec<Rule>,
    /// What each of them is, and how it starts.
    starts: Vec<Guess>,
    /// Patterns of what is no weight, or is not known to be one: no criterion may have it.
    pub(super) unknown: Vec<String>,
    /// Patterns of what else pruning had better leave alone.
    pub(super) keep: Vec<String>,
}

impl<'t> Inference<'t> {
    /// Looks at the tensors of a checkpoint, each of another name. `same` says whether two of them hold the
    /// same values: it is asked about tables and heads of one shape and type, which may be tied.
    pub fn new(
        tensors: impl IntoIterator<Item = (&'t str, Dtype, &'t Shape)>,
        same: impl Fn(&str, &str) -> bool,
    ) -> Self {
        let forms: BTreeMap<&str, (Dtype, &Shape)> =
            tensors.into_iter().map(|(name, dtype, shape)| (name, (dtype, shape))).collect();
        let all: Tensors<'_> = forms.iter().map(|(name, (_, shape))| (*name, *shape)).collect();
        let family = Family::of(&all);
        let floats = forms.iter().filter(|(_, (dtype, _))| FloatDtype::of(*dtype).is_some());
        let tensors: Vec<(&str, &Shape)> = floats.map(|(name, (_, shape))| (*name, *shape)).collect();
        let kinds: Vec<TensorKind> =
            tensors.iter().map(|(name, shape)| classify(name, shape, &all)).collect();
        let each = tensors.iter().zip(&kinds);
        let mut starts: Vec<Guess> =
            each.map(|((name, shape), kind)| family.start(*kind, name, shape, &all)).collect();
        single_out(&tensors, &mut starts);
        let may_be_tied = |a: &str, b: &str| forms[a] == forms[b] && same(a, b);
        let ties = ties(&tensors, &kinds, may_be_tied);

        let list: Vec<&str> = tensors.iter().map(|(name, _)| *name).collect();
        let names = Names::new(&list);
        let mut rules = group(&names, &starts, &ties);
        number(&mut rules);
        let keep = keep(&names, &starts);
        let mut inference = Self { family, tensors, rules, starts, unknown: Vec::new(), keep };
        inference.keep_unknown(|start| start.init == "none");
        for name in inference.misled() {
            inference.set_apart(name);
        }
        inference
    }

    /// Whether there is no tensor that could be initialised or compared.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// Gives a tensor a rule of its own; where it has one already, one that says that its start is not known.
    /// Says whether that changed anything.
    pub fn set_apart(&mut self, name: &str) -> bool {
        let Some(index) = self.tensors.iter().position(|(n, _)| *n == name) else { return false };
        let pattern = vec![literal(name)];
        let Some(at) = self.rules.iter().position(|rule| rule.members.contains(&index)) else { return false };
        let rule = &mut self.rules[at];
        let unknown = Guess { topic: Topic::Unknown, init: "none".to_owned(), layout: OUT_IN, fused: false };
        if rule.patterns == pattern && rule.layer == Layer::Auto {
            let changed = std::mem::replace(&mut rule.start, unknown.clone()) != unknown;
            if changed {
                self.unknown.extend(pattern);
            }
            return changed;
        }
        let start = match rule.start.topic {
            // `fan_in_of` needs a star in the pattern.
            Topic::Bias => Guess { topic: Topic::Zero, init: "zeros".to_owned(), ..unknown },
            _ => rule.start.clone(),
        };
        rule.members.retain(|i| *i != index);
        if rule.members.is_empty() {
            self.rules.remove(at);
        }
        let (members, numbers, layer) = (vec![index], Numbers::None, Layer::Auto);
        self.rules.insert(0, Rule { start, patterns: pattern, members, numbers, layer, tied: false });
        true
    }

    /// Forgets everything: no tensor's start is known.
    pub fn give_up(&mut self) {
        let start = Guess { topic: Topic::Unknown, init: "none".to_owned(), layout: OUT_IN, fused: false };
        let (patterns, members) = (vec!["**".to_owned()], (0..self.tensors.len()).collect());
        let (numbers, layer) = (Numbers::None, Layer::Auto);
        self.unknown = patterns.clone();
        self.rules = vec![Rule { start, patterns, members, numbers, layer, tied: false }];
        self.keep.clear();
    }

    /// Puts one rule in the place of all: no initial value is asked for.
    pub fn without_initial(&mut self) {
        let all = (0..self.tensors.len()).collect();
        self.rules = vec![plain(Topic::Any, "none", vec!["**".to_owned()], all)];
    }

    /// Puts rules in the place of all by which every tensor starts as the base has it, by the base's
    /// path from the config's folder. `has` says whether the base has a tensor of this name and
    /// shape. Whether it has any.
    pub fn from_base(&mut self, base: &str, has: impl Fn(&str, &Shape) -> bool) -> bool {
        let (found, missing): (Vec<usize>, Vec<usize>) =
            (0..self.tensors.len()).partition(|i| has(self.tensors[*i].0, self.tensors[*i].1));
        if found.is_empty() {
            return false;
        }
        self.rules.clear();
        if !missing.is_empty() {
            let list: Vec<&str> = self.tensors.iter().map(|(name, _)| *name).collect();
            let patterns = Names::new(&list).few(&missing, &found, false);
            self.rules.push(plain(Topic::NotInBase, "none", patterns, missing.clone()));
            missing.iter().for_each(|i| self.starts[*i].topic = Topic::NotInBase);
        }
        self.rules.push(plain(
            Topic::Base,
            &format!("{{from: {}}}", yaml(base)),
            vec!["**".to_owned()],
            found,
        ));
        // What the names do not explain has a known start all the same.
        self.keep_unknown(|start| matches!(start.topic, Topic::Statistic | Topic::Buffer | Topic::NotInBase));
        true
    }

    /// Keeps these tensors, and those of one element, which are scales and not weights,
    /// whatever the criterion.
    fn keep_unknown(&mut self, is_kept: impl Fn(&Guess) -> bool) {
        let list: Vec<&str> = self.tensors.iter().map(|(name, _)| *name).collect();
        let single = |i: usize| self.tensors[i].1.elements() <= 1;
        let (kept, others): (Vec<usize>, Vec<usize>) =
            (0..list.len()).partition(|i| is_kept(&self.starts[*i]) || single(*i));
        // Those that are kept otherwise are no others.
        let others: Vec<usize> =
            others.into_iter().filter(|i| !is_sensitive(&self.starts[*i], list[*i])).collect();
        self.unknown = Names::new(&list).few(&kept, &others, false);
    }

    /// Tensors that another rule than their own would decide about.
    pub(super) fn misled(&self) -> Vec<&'t str> {
        let mut own = vec![0; self.tensors.len()];
        for (n, rule) in self.rules.iter().enumerate() {
            rule.members.iter().for_each(|i| own[*i] = n);
        }
        let compile = |rule: &Rule| {
            let patterns = rule.patterns.iter().filter_map(|p| Pattern::new(p).ok()).collect();
            Matcher { patterns, value: () }
        };
        let rules = RuleSet::new(self.rules.iter().map(compile).collect());
        let names = self.tensors.iter().map(|(name, _)| *name).enumerate();
        names
            .filter(|(i, name)| rules.find(name).is_none_or(|m| m.rule != own[*i]))
            .map(|(_, name)| name)
            .collect()
    }
}

/// Where a single bias starts otherwise than at zero, it had better be the exception that is
/// named, not all the others.
fn single_out(tensors: &[(&str, &Shape)], starts: &mut [Guess]) {
    let has_zeros = starts.iter().any(|start| start.topic == Topic::Zero);
    let mut biases = starts.iter_mut().zip(tensors).filter(|(start, _)| start.topic == Topic::Bias);
    let (Some((start, (name, _))), None, true) = (biases.next(), biases.next(), has_zeros) else { return };
    // In `fan_in_of` a star stands for something else.
    if let Some(module) = name.strip_suffix("bias").filter(|module| !module.contains('*')) {
        start.topic = Topic::OneBias;
        start.init = format!("{{mode: torch_default, fan_in_of: {}}}", yaml(&format!("{module}weight")));
    }
}

/// Groups of tensors that are one: a token table and the heads, and further tables, that hold its values.
fn ties(
    tensors: &[(&str, &Shape)],
    kinds: &[TensorKind],
    same: impl Fn(&str, &str) -> bool,
) -> Vec<Vec<usize>> {
    let mut tied = vec![false; tensors.len()];
    let mut ties = Vec::new();
    for table in (0..tensors.len()).filter(|i| kinds[*i] == TensorKind::Embedding) {
        if tied[table] {
            continue;
        }
        let mut tie = vec![table];
        for (other, kind) in kinds.iter().enumerate() {
            let may = matches!(kind, TensorKind::Embedding | TensorKind::Linear { .. })
                && other != table
                && !tied[other];
            if may && tensors[other].1.elements() > 0 && same(tensors[table].0, tensors[other].0) {
                tied[other] = true;
                tie.push(other);
            }
        }
        if tie.len() > 1 {
            tied[table] = true;
            ties.push(tie);
        }
    }
    ties
}

/// A rule without numbers.
fn plain(topic: Topic, init: &str, patterns: Vec<String>, members: Vec<usize>) -> Rule {
    let start = Guess { topic, init: init.to_owned(), layout: OUT_IN, fused: false };
    Rule { start, patterns, members, numbers: Numbers::None, layer: Layer::Auto, tied: false }
}

/// Norms and biases: few, and sensitive.
fn is_sensitive(start: &Guess, name: &str) -> bool {
    match start.topic {
        Topic::Norm | Topic::Slope | Topic::OneBias | Topic::Zero | Topic::Bias => true,
        Topic::Recurrent => name.contains("bias"),
        _ => false,
    }
}

/// Patterns of norms and biases.
fn keep(names: &Names<'_>, starts: &[Guess]) -> Vec<String> {
    let is_kept = |i: &usize| is_sensitive(&starts[*i], names.full(*i));
    let is_pruned = |i: &usize| !is_kept(i) && starts[*i].init != "none";
    let kept: Vec<usize> = (0..names.len()).filter(is_kept).collect();
    let pruned: Vec<usize> = (0..names.len()).filter(is_pruned).collect();
    names.few(&kept, &pruned, false)
}
