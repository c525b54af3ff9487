//! A starting config from what a checkpoint's header says: what each tensor probably is, how such tensors usually start,
//! and as few readable rules as say so.
//!
//! ```
//! use cdi_prune::infer::{Inference, Surroundings};
//! use cdi_prune::tensor::{Dtype, Shape};
//!
//! let (weight, bias) = (Shape::new(vec![64, 1024])?, Shape::new(vec![64])?);
//! let tensors = [("fc1.weight", Dtype::F32, &weight), ("fc1.bias", Dtype::F32, &bias)];
//! let config = Inference::new(tensors, |_, _| false).config(&Surroundings::default());
//! assert!(config.contains("match: fc1.weight"));
//! # Ok::<(), cdi_prune::tensor::ShapeError>(())
//! ```
//!
//! The way of a name: `classify` says what its tensor is, `family` how the code that the names are from starts such a
//! tensor, `layout` what its dimensions are where no word says it, `cover` finds patterns, `group` makes rules of them, `number` gives those layer ids, `render` writes YAML.

mod classify;
mod cover;
mod family;
mod group;
mod layout;
mod name;
mod number;
mod purpose;
mod render;

use std::collections::BTreeMap;

use safetensors::Dtype;

use self::classify::{Kind, classify};
use self::cover::Names;
use self::family::{Family, OUT_IN, Role, Start};
use self::group::{Layer, Numbers, Rule, group};
use self::name::literal;
use self::number::number;
pub use self::purpose::Purpose;
pub use self::render::Surroundings;
use self::render::yaml;
use crate::rules::{Pattern, Rule as Matcher, RuleSet};
use crate::tensor::{FloatDtype, Shape};

/// Shapes by name.
type Tensors<'t> = BTreeMap<&'t str, &'t Shape>;

/// Why a tensor is no weight that pruning could take, as far as its name, its shape and its neighbours tell: `None` where
/// it may be one.
pub fn no_weight(name: &str, shape: &Shape, all: &BTreeMap<&str, &Shape>) -> Option<&'static str> {
    if shape.elements() <= 1 {
        return Some("one number");
    }
    match classify(name, shape, all) {
        Kind::Statistic => Some("running statistics"),
        Kind::Buffer => Some("computed"),
        Kind::Unknown if is_scale(name) => Some("scales"),
        _ => None,
    }
}

/// Whether a tensor of this name, of which nothing else is known, holds scales of quantised weights or the like.
fn is_scale(name: &str) -> bool {
    let leaf = name.rsplit(['.', '/']).next().unwrap_or_default();
    let words = ["scale", "scales", "scale_inv", "scaling", "zeros", "zero_point", "alpha", "absmax"];
    words
        .iter()
        .any(|word| leaf.strip_suffix(word).is_some_and(|rest| rest.is_empty() || rest.ends_with(['_', 'q'])))
}

/// What was inferred about the tensors of a checkpoint.
#[derive(Debug)]
pub struct Inference<'t> {
    family: Family,
    /// The floating-point tensors, in name order; the others pass through and need no rule.
    tensors: Vec<(&'t str, &'t Shape)>,
    rules: Vec<Rule>,
    /// What each of them is, and how it starts.
    starts: Vec<Start>,
    /// Patterns of what is no weight, or is not known to be one: no criterion may have it.
    unknown: Vec<String>,
    /// Patterns of what else pruning had better leave alone.
    keep: Vec<String>,
}

impl<'t> Inference<'t> {
    /// Looks at the tensors of a checkpoint, each of another name. `same` says whether two of them hold the same values:
    /// it is asked about tables and heads of one shape and type, which may be tied.
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
        let kinds: Vec<Kind> = tensors.iter().map(|(name, shape)| classify(name, shape, &all)).collect();
        let each = tensors.iter().zip(&kinds);
        let mut starts: Vec<Start> =
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

    /// Gives a tensor a rule of its own; where it has one already, one that says that its start is not known. Says whether
    /// that changed anything.
    pub fn set_apart(&mut self, name: &str) -> bool {
        let Some(index) = self.tensors.iter().position(|(n, _)| *n == name) else { return false };
        let pattern = vec![literal(name)];
        let Some(at) = self.rules.iter().position(|rule| rule.members.contains(&index)) else { return false };
        let rule = &mut self.rules[at];
        let unknown = Start { role: Role::Unknown, init: "none".to_owned(), layout: OUT_IN, fused: false };
        if rule.patterns == pattern && rule.layer == Layer::Auto {
            let changed = std::mem::replace(&mut rule.start, unknown.clone()) != unknown;
            if changed {
                self.unknown.extend(pattern);
            }
            return changed;
        }
        let start = match rule.start.role {
            // `fan_in_of` needs a star in the pattern.
            Role::Bias => Start { role: Role::Zero, init: "zeros".to_owned(), ..unknown },
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
        let start = Start { role: Role::Unknown, init: "none".to_owned(), layout: OUT_IN, fused: false };
        let (patterns, members) = (vec!["**".to_owned()], (0..self.tensors.len()).collect());
        let (numbers, layer) = (Numbers::None, Layer::Auto);
        self.unknown = patterns.clone();
        self.rules = vec![Rule { start, patterns, members, numbers, layer, tied: false }];
        self.keep.clear();
    }

    /// Puts one rule in the place of all: no initial value is asked for.
    pub fn without_initial(&mut self) {
        let all = (0..self.tensors.len()).collect();
        self.rules = vec![plain(Role::Any, "none", vec!["**".to_owned()], all)];
    }

    /// Puts rules in the place of all by which every tensor starts as the base has it, by the base's path from the
    /// config's folder. `has` says whether the base has a tensor of this name and shape. Whether it has any.
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
            self.rules.push(plain(Role::NotInBase, "none", patterns, missing.clone()));
            missing.iter().for_each(|i| self.starts[*i].role = Role::NotInBase);
        }
        self.rules.push(plain(
            Role::Base,
            &format!("{{from: {}}}", yaml(base)),
            vec!["**".to_owned()],
            found,
        ));
        // What the names do not explain has a known start all the same.
        self.keep_unknown(|start| matches!(start.role, Role::Statistic | Role::Buffer | Role::NotInBase));
        true
    }

    /// Keeps these tensors, and those of one element, which are scales and not weights, whatever the criterion.
    fn keep_unknown(&mut self, is_kept: impl Fn(&Start) -> bool) {
        let list: Vec<&str> = self.tensors.iter().map(|(name, _)| *name).collect();
        let single = |i: usize| self.tensors[i].1.elements() <= 1;
        let (kept, others): (Vec<usize>, Vec<usize>) =
            (0..list.len()).partition(|i| is_kept(&self.starts[*i]) || single(*i));
        // Those that are kept otherwise are no others.
        let others: Vec<usize> =
            others.into_iter().filter(|i| !is_sensitive(&self.starts[*i], list[*i])).collect();
        self.unknown = Names::new(&list).few(&kept, &others, false);
    }

    /// The config, as YAML.
    pub fn config(&self, surroundings: &Surroundings) -> String {
        render::config(self, surroundings)
    }

    /// Tensors that another rule than their own would decide about.
    fn misled(&self) -> Vec<&'t str> {
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

/// Where a single bias starts otherwise than at zero, it had better be the exception that is named, not all the others.
fn single_out(tensors: &[(&str, &Shape)], starts: &mut [Start]) {
    let has_zeros = starts.iter().any(|start| start.role == Role::Zero);
    let mut biases = starts.iter_mut().zip(tensors).filter(|(start, _)| start.role == Role::Bias);
    let (Some((start, (name, _))), None, true) = (biases.next(), biases.next(), has_zeros) else { return };
    // In `fan_in_of` a star stands for something else.
    if let Some(module) = name.strip_suffix("bias").filter(|module| !module.contains('*')) {
        start.role = Role::OneBias;
        start.init = format!("{{mode: torch_default, fan_in_of: {}}}", yaml(&format!("{module}weight")));
    }
}

/// Groups of tensors that are one: a token table and the heads, and further tables, that hold its values.
fn ties(tensors: &[(&str, &Shape)], kinds: &[Kind], same: impl Fn(&str, &str) -> bool) -> Vec<Vec<usize>> {
    let mut tied = vec![false; tensors.len()];
    let mut ties = Vec::new();
    for table in (0..tensors.len()).filter(|i| kinds[*i] == Kind::Embedding) {
        if tied[table] {
            continue;
        }
        let mut tie = vec![table];
        for (other, kind) in kinds.iter().enumerate() {
            let may = matches!(kind, Kind::Embedding | Kind::Linear { .. }) && other != table && !tied[other];
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
fn plain(role: Role, init: &str, patterns: Vec<String>, members: Vec<usize>) -> Rule {
    let start = Start { role, init: init.to_owned(), layout: OUT_IN, fused: false };
    Rule { start, patterns, members, numbers: Numbers::None, layer: Layer::Auto, tied: false }
}

/// Norms and biases: few, and sensitive.
fn is_sensitive(start: &Start, name: &str) -> bool {
    match start.role {
        Role::Norm | Role::Slope | Role::OneBias | Role::Zero | Role::Bias => true,
        Role::Recurrent => name.contains("bias"),
        _ => false,
    }
}

/// Patterns of norms and biases.
fn keep(names: &Names<'_>, starts: &[Start]) -> Vec<String> {
    let is_kept = |i: &usize| is_sensitive(&starts[*i], names.full(*i));
    let is_pruned = |i: &usize| !is_kept(i) && starts[*i].init != "none";
    let kept: Vec<usize> = (0..names.len()).filter(is_kept).collect();
    let pruned: Vec<usize> = (0..names.len()).filter(is_pruned).collect();
    names.few(&kept, &pruned, false)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(dims: &[usize]) -> Shape {
        Shape::new(dims.to_vec()).unwrap()
    }

    /// Lines of the rules, without comments.
    fn rules(inference: &Inference<'_>) -> Vec<String> {
        let config = inference.config(&Surroundings::default());
        let rules = config.split("\nrules:\n").nth(1).unwrap().split("\ninit:\n").next().unwrap();
        let code = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
        rules.lines().map(code).filter(|line| !line.is_empty() && !line.starts_with('#')).collect()
    }

    #[test]
    fn tensors_set_apart_get_their_own_rule_and_then_none() {
        let (weight, bias) = (shape(&[4, 4]), shape(&[4]));
        let all = [
            ("fc1.weight", Dtype::F32, &weight),
            ("fc2.weight", Dtype::F32, &weight),
            ("fc1.bias", Dtype::F32, &bias),
        ];
        let mut inference = Inference::new(all, |_, _| false);
        let weights = ["- match: \"fc*.weight\"", "layer: {base: 0, step: 1, by: 1}", "init: torch_default"];
        let biases = ["- match: \"**.bias\"", "init: {mode: torch_default, fan_in_of: \"*.weight\"}"];
        assert_eq!(rules(&inference), [&weights[..], &biases].concat());
        assert!(inference.misled().is_empty());

        assert!(inference.set_apart("fc2.weight"));
        let apart = ["- match: fc2.weight", "init: torch_default"];
        assert_eq!(rules(&inference), [&apart[..], &weights, &biases].concat());
        assert!(inference.set_apart("fc2.weight"));
        let apart = ["- match: fc2.weight", "init: none"];
        assert_eq!(rules(&inference), [&apart[..], &weights, &biases].concat());
        assert!(!inference.set_apart("fc2.weight"), "nothing is left to give up");
        assert!(!inference.set_apart("fc3.weight"));

        assert!(inference.set_apart("fc1.bias"));
        let bias = ["- match: fc1.bias", "init: zeros"];
        assert_eq!(rules(&inference), [&bias[..], &apart, &weights].concat());
        assert!(inference.misled().is_empty());

        inference.give_up();
        assert_eq!(rules(&inference), ["- match: \"**\"", "init: none"]);
    }

    #[test]
    fn what_pruning_could_not_take() {
        let (vector, one, matrix, none) = (shape(&[4]), shape(&[1, 1]), shape(&[4, 4]), shape(&[]));
        let all: Tensors<'_> = [
            ("bn.running_var", &vector),
            ("bn.weight", &vector),
            ("gate.weight", &one),
            ("lora.alpha", &none),
            ("fc.weight", &matrix),
            ("fc.weight_scale", &vector),
            ("fc.weight_scale_inv", &matrix),
            ("fc.qzeros", &matrix),
            ("LayerNorm_0/scale", &vector),
            ("fc.upscale", &matrix),
        ]
        .into();
        let found = all.iter().filter_map(|(name, shape)| Some((*name, no_weight(name, shape, &all)?)));
        assert_eq!(
            found.collect::<Vec<_>>(),
            [
                ("bn.running_var", "running statistics"),
                ("fc.qzeros", "scales"),
                ("fc.weight_scale", "scales"),
                ("fc.weight_scale_inv", "scales"),
                ("gate.weight", "one number"),
                ("lora.alpha", "one number"),
            ]
        );
    }

    #[test]
    fn a_rule_that_takes_anothers_tensor_is_found_out() {
        let weight = shape(&[4, 4]);
        let all = [("a.weight", Dtype::F32, &weight), ("b.weight", Dtype::F32, &weight)];
        let mut inference = Inference::new(all, |_, _| false);
        inference.rules[0].patterns = vec!["*.weight".to_owned()];
        assert_eq!(inference.misled(), ["b.weight"]);
        inference.set_apart("b.weight");
        assert!(inference.misled().is_empty());
    }

    #[test]
    fn only_tensors_that_are_floats_get_rules() {
        let (weight, empty) = (shape(&[4, 4]), shape(&[]));
        let all = [("a.weight", Dtype::I8, &weight), ("a.scale", Dtype::F8_E4M3, &empty)];
        assert!(Inference::new(all, |_, _| true).is_empty());
    }
}
