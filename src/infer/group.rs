//! Tensors that start alike, put together in rules.

use std::collections::BTreeMap;

use super::cover::{Cover, Names};
use super::family::{Guess, Topic};
use super::name::{Digits, Piece, glob, literal};

/// More rules with numbers than this are no longer easy to read; a few wide patterns, with
/// ids from names, are.
const MOST_NUMBERED: usize = 12;

/// A rule in the making.
#[derive(Clone, Debug)]
pub(super) struct Rule {
    pub start: Guess,
    pub patterns: Vec<String>,
    /// Indexes of the names that it decides about, in order.
    pub members: Vec<usize>,
    pub numbers: Numbers,
    pub layer: Layer,
    /// Whether its tensors are one, stored several times.
    pub tied: bool,
}

/// What could number a rule's tensors.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Numbers {
    /// Nothing does, or more than one number.
    None,
    /// They are one tensor.
    One,
    /// The number that the pattern's one star stands for, after this part of the pattern.
    Star { before: String, last: u64 },
}

/// A rule's layer ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Layer {
    Auto,
    Id(u64),
    By { base: u64, step: u64 },
}

/// The rules for these names, in the order in which they are to be tried. `ties` are indexes of names that
/// stand for one tensor; the first of them says how it starts.
pub(super) fn group(names: &Names<'_>, starts: &[Guess], ties: &[Vec<usize>]) -> Vec<Rule> {
    let rules = |numbered| {
        let claimed = vec![false; names.len()];
        Grouping { names, starts, numbered, claimed, rules: Vec::new() }.rules(ties)
    };
    let numbered = rules(true);
    let count = numbered.iter().filter(|rule| is_numbered(rule.start.topic)).count();
    if count <= MOST_NUMBERED { numbered } else { rules(false) }
}

/// Whether a topic's tensors get a rule for each kind of matrix, with layer ids by number,
/// where those are few.
fn is_numbered(topic: Topic) -> bool {
    matches!(topic, Topic::Embedding | Topic::LoraA | Topic::Weight)
}

struct Grouping<'g, 'n> {
    names: &'g Names<'n>,
    starts: &'g [Guess],
    numbered: bool,
    /// Names that a rule decides about already.
    claimed: Vec<bool>,
    rules: Vec<Rule>,
}

impl Grouping<'_, '_> {
    fn rules(mut self, ties: &[Vec<usize>]) -> Vec<Rule> {
        for tie in ties {
            let patterns = tie.iter().map(|i| literal(self.names.full(*i))).collect();
            self.push(&self.starts[tie[0]], patterns, tie.clone(), Numbers::One, true);
        }
        let mut topics: BTreeMap<Topic, BTreeMap<&Guess, Vec<usize>>> = BTreeMap::new();
        for (i, start) in self.starts.iter().enumerate().filter(|(i, _)| !self.claimed[*i]) {
            topics.entry(start.topic).or_default().entry(start).or_default().push(i);
        }
        for (topic, starts) in topics {
            if self.numbered && is_numbered(topic) {
                self.one_per_kind(&starts);
            } else {
                // The start that most kinds of tensors have comes last, where its pattern can be the widest.
                let mut starts: Vec<_> = starts.into_iter().collect();
                starts.sort_by_key(|(_, members)| self.names.by_key(members, Digits::All).len());
                starts.into_iter().for_each(|(start, members)| self.one_for_all(start, members));
            }
        }
        // Tied tensors were first, so that nothing else takes them; a stable sort puts them where
        // they are looked for.
        self.rules.sort_by_key(|rule| rule.start.topic);
        self.rules
    }

    fn push(
        &mut self,
        start: &Guess,
        patterns: Vec<String>,
        members: Vec<usize>,
        numbers: Numbers,
        tied: bool,
    ) {
        members.iter().for_each(|i| self.claimed[*i] = true);
        self.rules.push(Rule { start: start.clone(), patterns, members, numbers, layer: Layer::Auto, tied });
    }

    /// Names that no rule decides about and that are not these.
    fn others(&self, members: &[usize]) -> Vec<usize> {
        let mut taken = self.claimed.clone();
        members.iter().for_each(|i| taken[*i] = true);
        (0..taken.len()).filter(|i| !taken[*i]).collect()
    }

    fn one_for_all(&mut self, start: &Guess, members: Vec<usize>) {
        let patterns = match start.topic {
            // What is left by now is called so, and the star of `fan_in_of` needs this very form.
            Topic::Bias => vec!["**.bias".to_owned()],
            topic => self.names.few(&members, &self.others(&members), topic == Topic::Recurrent),
        };
        let one = members.len() == 1 && start.topic != Topic::Bias;
        self.push(start, patterns, members, if one { Numbers::One } else { Numbers::None }, false);
    }

    fn one_per_kind(&mut self, starts: &BTreeMap<&Guess, Vec<usize>>) {
        let mut found = Vec::new();
        for (start, members) in starts {
            let covers = self.names.covers(members, &self.others(members), Digits::Blocks);
            found.extend(covers.into_iter().map(|cover| (*start, cover)));
        }
        found.sort_by_key(|(_, cover)| cover.members.first().copied());
        for (start, cover) in found {
            let pattern = self.names.pattern(&cover.pieces, &self.others(&cover.members));
            let numbers = self.numbers(&cover);
            self.push(start, vec![pattern], cover.members, numbers, false);
        }
    }

    fn numbers(&self, cover: &Cover<'_>) -> Numbers {
        let stars: Vec<usize> = (0..cover.pieces.len()).filter(|n| cover.pieces[*n] == Piece::Star).collect();
        let alternatives = cover.pieces.iter().any(|p| matches!(p, Piece::Any(values) if values.len() > 1));
        match stars.as_slice() {
            _ if cover.members.len() == 1 => Numbers::One,
            [star] if !alternatives => {
                let read = |i: &usize| self.names.name(*i, Digits::Blocks).number(*star).parse::<u64>().ok();
                let mut numbers: Vec<u64> = cover.members.iter().filter_map(read).collect();
                numbers.sort_unstable();
                numbers.dedup();
                // `01` and `1` are one number.
                let distinct = numbers.len() == cover.members.len();
                match numbers.last() {
                    Some(&last) if distinct => Numbers::Star { before: glob(&cover.pieces[..*star]), last },
                    _ => Numbers::None,
                }
            }
            _ => Numbers::None,
        }
    }
}
