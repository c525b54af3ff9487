//! Ordered rules: the first that matches a name gives it its value.

use super::pattern::{Captures, Pattern};

/// A value for every name that one of the patterns matches.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule<T> {
    /// Tried in order.
    pub patterns: Vec<Pattern>,
    /// What the rule says about the names it matches.
    pub value: T,
}

/// Rules in the order in which they are tried.
#[derive(Clone, Debug, PartialEq)]
pub struct RuleSet<T> {
    rules: Vec<Rule<T>>,
}

/// The rule that decides about a name.
#[derive(Debug)]
pub struct Match<'r, 'n, T> {
    /// Index of the rule, from 0.
    pub rule: usize,
    /// Index of the pattern within the rule, from 0.
    pub pattern: usize,
    /// The rule's value.
    pub value: &'r T,
    /// What the pattern's groups matched.
    pub captures: Captures<'n>,
}

impl<T> Default for RuleSet<T> {
    fn default() -> Self {
        Self { rules: Vec::new() }
    }
}

impl<T> RuleSet<T> {
    /// Rules in the order in which they are to be tried.
    pub fn new(rules: Vec<Rule<T>>) -> Self {
        Self { rules }
    }

    /// The rules in order.
    pub fn rules(&self) -> &[Rule<T>] {
        &self.rules
    }

    /// Changes the values, each given with the index of its rule.
    pub fn for_each_mut(&mut self, mut change: impl FnMut(usize, &mut T)) {
        self.rules.iter_mut().enumerate().for_each(|(n, rule)| change(n, &mut rule.value));
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The first rule one of whose patterns matches the name, with the first of its patterns that does.
    pub fn find<'r, 'n>(&'r self, name: &'n str) -> Option<Match<'r, 'n, T>> {
        for (index, rule) in self.rules.iter().enumerate() {
            // Most patterns do not match most names; finding that out is much cheaper without the groups.
            let Some(pattern) = rule.patterns.iter().position(|p| p.is_match(name)) else { continue };
            let captures = rule.patterns[pattern].captures(name)?;
            return Some(Match { rule: index, pattern, value: &rule.value, captures });
        }
        None
    }

    /// The patterns that match none of the names, in order: indexes of their rule and of the pattern within
    /// it. A pattern whose names are all taken by earlier ones does match, and is not listed.
    pub fn unmatched<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Vec<(usize, usize)> {
        let of_rule =
            |(rule, patterns): (usize, &Rule<T>)| (0..patterns.patterns.len()).map(move |p| (rule, p));
        let mut waiting: Vec<(usize, usize)> = self.rules.iter().enumerate().flat_map(of_rule).collect();
        for name in names {
            if waiting.is_empty() {
                break;
            }
            waiting.retain(|&(rule, pattern)| !self.rules[rule].patterns[pattern].is_match(name));
        }
        waiting
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(rules: &[(&[&str], &'static str)]) -> RuleSet<&'static str> {
        let rule = |(patterns, value): &(&[&str], &'static str)| Rule {
            patterns: patterns.iter().map(|p| Pattern::new(p).unwrap()).collect(),
            value: *value,
        };
        RuleSet::new(rules.iter().map(rule).collect())
    }

    #[test]
    fn the_first_rule_and_its_first_pattern_win() {
        let rules =
            set(&[(&["fc1.*"], "first"), (&["**.weight", "fc2.*", "*.weight"], "second"), (&["**"], "rest")]);
        let find = |name| rules.find(name).map(|m| (m.rule, m.pattern, *m.value)).unwrap();
        assert_eq!(find("fc1.weight"), (0, 0, "first"));
        assert_eq!(find("fc2.weight"), (1, 0, "second"));
        assert_eq!(find("fc2.bias"), (1, 1, "second"));
        assert_eq!(find("bias"), (2, 0, "rest"));
    }

    #[test]
    fn captures_are_those_of_the_pattern_that_matched() {
        let rules = set(&[(&["a.*", "b.*.*"], "")]);
        let found = rules.find("b.1.2").unwrap();
        assert_eq!((found.pattern, found.captures.get(2)), (1, Some("2")));
    }

    #[test]
    fn patterns_that_match_nothing_are_listed_and_shadowed_ones_are_not() {
        let rules = set(&[(&["**"], ""), (&["fc1.*"], ""), (&["fc9.*", "fc2.*", "conv*"], "")]);
        assert_eq!(rules.unmatched(["fc1.weight", "fc2.weight"]), [(2, 0), (2, 2)]);
        assert_eq!(rules.unmatched([]), [(0, 0), (1, 0), (2, 0), (2, 1), (2, 2)]);
        assert!(RuleSet::<()>::default().find("a").is_none());
    }

    #[test]
    fn many_names_meet_many_rules() {
        let mut rules: Vec<Rule<usize>> = (0..40)
            .map(|i| Rule {
                patterns: vec![Pattern::new(&format!("model.blocks.*.part{i}.weight")).unwrap()],
                value: i,
            })
            .collect();
        rules.push(Rule { patterns: vec![Pattern::new("**").unwrap()], value: 40 });
        let rules = RuleSet::new(rules);
        for i in 0..20_000 {
            let name = format!("model.blocks.{i}.part{}.weight", i % 50);
            let found = rules.find(&name).unwrap();
            assert_eq!(*found.value, (i % 50).min(40));
        }
    }
}
