//! Patterns that match some names of a checkpoint and no others.

use std::collections::{BTreeMap, BTreeSet};

use super::name::{Digits, Key, Name, Part, Piece, escape, glob, is_number, regex, segments, trim_number};
use crate::rules::Pattern;

/// A checkpoint's names, taken apart in both ways.
pub(super) struct Names<'n> {
    full: &'n [&'n str],
    blocks: Vec<Name<'n>>,
    all: Vec<Name<'n>>,
}

/// Some repetitions of one thing, and the pattern for them.
pub(super) struct Cover<'n> {
    pub pieces: Vec<Piece<'n>>,
    /// Indexes of the names.
    pub members: Vec<usize>,
}

impl<'n> Names<'n> {
    pub fn new(full: &'n [&'n str]) -> Self {
        let parse = |digits| full.iter().map(|name| Name::new(name, digits)).collect();
        Self { full, blocks: parse(Digits::Blocks), all: parse(Digits::All) }
    }

    pub fn len(&self) -> usize {
        self.full.len()
    }

    pub fn full(&self, index: usize) -> &'n str {
        self.full[index]
    }

    pub fn name(&self, index: usize, digits: Digits) -> &Name<'n> {
        match digits {
            Digits::Blocks => &self.blocks[index],
            Digits::All => &self.all[index],
        }
    }

    /// These names by what they are repetitions of.
    pub fn by_key(&self, members: &[usize], digits: Digits) -> BTreeMap<Key<'n>, Vec<usize>> {
        let mut keys: BTreeMap<Key<'n>, Vec<usize>> = BTreeMap::new();
        for &i in members {
            keys.entry(self.name(i, digits).key()).or_default().push(i);
        }
        keys
    }

    /// Covers the members, kind by kind, with patterns that leave the others out as far as numbers can tell.
    pub fn covers(&self, members: &[usize], others: &[usize], digits: Digits) -> Vec<Cover<'n>> {
        let mut rest = self.by_key(others, digits);
        let mut covers = Vec::new();
        for (key, members) in self.by_key(members, digits) {
            let rest = rest.remove(&key).unwrap_or_default();
            self.split(&members, &rest, digits, &mut covers);
        }
        covers
    }

    /// Of one key: one pattern where none of the rest has it too; else a pattern for the values of one number
    /// that only members have, and the same again for each value that both have.
    fn split(&self, members: &[usize], rest: &[usize], digits: Digits, covers: &mut Vec<Cover<'n>>) {
        if members.is_empty() {
            return;
        }
        let at = |i: usize, place: usize| self.name(i, digits).number(place);
        if rest.is_empty() {
            return covers.push(self.cover(members, None, digits));
        }
        let parts = &self.name(members[0], digits).parts;
        let places = (0..parts.len()).filter(|place| matches!(parts[*place], Part::Number(_)));
        let both = |place: usize| {
            let others: BTreeSet<&str> = rest.iter().map(|i| at(*i, place)).collect();
            let own: BTreeSet<&str> = members.iter().map(|i| at(*i, place)).collect();
            own.intersection(&others).copied().collect::<Vec<_>>()
        };
        // A number that all of them have alike splits nothing.
        let splits =
            |place: &usize| members.iter().chain(rest).any(|i| at(*i, *place) != at(members[0], *place));
        let Some(place) = places.filter(splits).min_by_key(|place| both(*place).len()) else {
            // Two names of one key differ in a number, so this cannot be; the rules' check would find it.
            return covers.push(self.cover(members, None, digits));
        };
        let both = both(place);
        let (mixed, own): (Vec<usize>, Vec<usize>) =
            members.iter().partition(|i| both.contains(&at(**i, place)));
        if !own.is_empty() {
            covers.push(self.cover(&own, Some(place), digits));
        }
        for value in both {
            let with =
                |list: &[usize]| list.iter().copied().filter(|i| at(*i, place) == value).collect::<Vec<_>>();
            self.split(&with(&mixed), &with(rest), digits, covers);
        }
    }

    /// One pattern for these names of one key: a star for each number in which they differ, but the values
    /// themselves at the place that tells them from others.
    fn cover(&self, members: &[usize], told_by: Option<usize>, digits: Digits) -> Cover<'n> {
        let piece = |(place, part): (usize, &Part<'n>)| match part {
            Part::Text(text) => Piece::Text(text),
            Part::Number(_) => {
                let mut values: Vec<&'n str> =
                    members.iter().map(|i| self.name(*i, digits).number(place)).collect();
                values.sort_by_key(|value| (value.len(), *value));
                values.dedup();
                let star = values.len() > 1 && told_by != Some(place);
                if star { Piece::Star } else { Piece::Any(values) }
            }
        };
        let pieces = self.name(members[0], digits).parts.iter().enumerate().map(piece).collect();
        Cover { pieces, members: members.to_vec() }
    }

    /// A cover's pattern: a glob, or where a star of it would match one of the others, a regular expression.
    pub fn pattern(&self, pieces: &[Piece<'n>], others: &[usize]) -> String {
        let glob = glob(pieces);
        if self.is_clear_of(&glob, others) { glob } else { regex(pieces) }
    }

    fn is_clear_of(&self, pattern: &str, others: &[usize]) -> bool {
        let pattern = Pattern::new(pattern);
        pattern.is_ok_and(|pattern| !others.iter().any(|i| pattern.is_match(self.full[*i])))
    }

    /// As few patterns as may be for these names, wide where that takes in none of the others.
    pub fn few(&self, members: &[usize], others: &[usize], modules: bool) -> Vec<String> {
        let first =
            |keys: BTreeMap<Key<'n>, Vec<usize>>| keys.into_values().map(|list| list[0]).collect::<Vec<_>>();
        // One name stands for its repetitions until a pattern is chosen.
        let (mut left, strangers) =
            (first(self.by_key(members, Digits::All)), first(self.by_key(others, Digits::All)));
        let mut wide: BTreeMap<String, Pattern> = BTreeMap::new();
        for &i in &left {
            for text in candidates(self.full[i], modules) {
                if let Ok(pattern) = Pattern::new(&text)
                    && !strangers.iter().any(|other| pattern.is_match(self.full[*other]))
                {
                    wide.insert(text, pattern);
                }
            }
        }
        let mut chosen = Vec::new();
        loop {
            let covered =
                |pattern: &Pattern| left.iter().filter(|i| pattern.is_match(self.full[**i])).count();
            let best = wide.iter().map(|(text, pattern)| (covered(pattern), text));
            let best = best.max_by(|(n, a), (m, b)| n.cmp(m).then(b.len().cmp(&a.len())).then(b.cmp(a)));
            let Some((2.., text)) = best else { break };
            let text = text.clone();
            let pattern = wide.remove(&text);
            if let Some(pattern) = pattern.filter(|_| self.is_clear_of(&text, others)) {
                left.retain(|i| !pattern.is_match(self.full[*i]));
                chosen.push(text);
            }
        }
        let left: BTreeSet<Key<'n>> = left.iter().map(|i| self.all[*i].key()).collect();
        let rest: Vec<usize> =
            members.iter().copied().filter(|i| left.contains(&self.all[*i].key())).collect();
        let covers = self.covers(&rest, others, Digits::All);
        chosen.extend(covers.iter().map(|cover| self.pattern(&cover.pieces, others)));
        chosen
    }
}

/// Patterns that match this name and may match others like it.
fn candidates(name: &str, modules: bool) -> Vec<String> {
    let parts: Vec<(&str, &str)> = segments(name).collect();
    let mut found = Vec::new();
    let mut tail = String::new();
    for (separator, segment) in parts.iter().skip(1).rev() {
        tail = format!("{separator}{}{tail}", starred(segment));
        // A number says nothing about what a tensor is.
        if !is_number(segment) {
            found.push(format!("**{tail}"));
        }
    }
    if let [.., (_, parent), (separator, leaf)] = parts.as_slice() {
        for word in ["norm", "Norm", "ln", "bn"] {
            if parent.contains(word) {
                let leaf = starred(leaf);
                found.extend([format!("**{word}{separator}{leaf}"), format!("**{word}*{separator}{leaf}")]);
            }
        }
        if leaf.starts_with("bias") {
            found.push(format!("**{separator}bias*"));
        }
        if modules {
            let module = &name[..name.len() - separator.len() - leaf.len()];
            found.push(format!("{}{separator}*", escape(module)));
        }
    }
    found
}

/// A part of a name with a star in place of the number that it is or ends with.
fn starred(segment: &str) -> String {
    let stem = trim_number(segment);
    let star = if stem.len() < segment.len() { "*" } else { "" };
    escape(stem) + star
}

#[cfg(test)]
mod tests {
    use super::*;

    fn few(members: &[&str], others: &[&str]) -> Vec<String> {
        let all: Vec<&str> = members.iter().chain(others).copied().collect();
        let names = Names::new(&all);
        let (members, others): (Vec<_>, Vec<_>) = (0..all.len()).partition(|i| *i < members.len());
        let patterns = names.few(&members, &others, false);
        for (i, name) in all.iter().enumerate() {
            let matched = patterns.iter().any(|p| Pattern::new(p).unwrap().is_match(name));
            assert_eq!(matched, members.contains(&i), "{name} {patterns:?}");
        }
        patterns
    }

    #[test]
    fn wide_patterns_take_in_no_stranger() {
        let norms = ["h.0.ln_1.weight", "h.0.ln_2.weight", "h.1.ln_1.weight", "ln_f.weight"];
        assert_eq!(few(&norms, &["h.0.attn.weight", "wte.weight"]), ["**ln*.weight"]);
        let (norms, weights) = (["a.norm.weight", "a.norm1.weight"], ["a.normal.x.weight", "a.fc.weight"]);
        assert_eq!(few(&norms, &weights), ["**norm*.weight"]);
        assert_eq!(few(&["a.bias", "b.c.bias"], &["bias"]), ["**.bias"]);
        assert_eq!(few(&["a.bias"], &["b.bias"]), ["a.bias"]);
        assert_eq!(few(&["a[0].bias", "a[1].bias"], &[]), ["**.bias"]);
    }

    #[test]
    fn numbers_tell_members_from_others() {
        // Convolutions and norms take turns.
        let convs = ["f.0.weight", "f.3.weight", "f.10.weight"];
        assert_eq!(few(&convs, &["f.1.weight", "f.4.weight"]), ["f.{0,3,10}.weight"]);
        // MobileNetV2's first block has a layer less.
        let convs = ["f.1.conv.1.weight", "f.2.conv.2.weight", "f.3.conv.2.weight"];
        let norms = ["f.1.conv.2.weight", "f.2.conv.3.weight", "f.3.conv.3.weight"];
        assert_eq!(few(&convs, &norms), ["f.1.conv.1.weight", "f.{2,3}.conv.2.weight"]);
        assert_eq!(few(&norms, &convs), ["f.*.conv.3.weight", "f.1.conv.2.weight"]);
    }

    #[test]
    fn a_star_that_takes_in_a_word_becomes_a_regular_expression() {
        let all = ["h.0.w", "h.1.w", "h.x.w"];
        let names = Names::new(&all);
        let covers = names.covers(&[0, 1], &[2], Digits::Blocks);
        assert_eq!(covers.len(), 1);
        assert_eq!(names.pattern(&covers[0].pieces, &[2]), r"re:^h\.([0-9]+)\.w$");
        assert_eq!(names.pattern(&covers[0].pieces, &[]), "h.*.w");
    }
}
