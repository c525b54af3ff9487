//! Readable layer ids: single tensors from 0, then a round range for each series of blocks.

use std::collections::BTreeMap;

use super::group::{Layer, Numbers, Rule};

/// Numbers above this (dates, hashes) are no numbers of blocks; such tensors keep the ids of their names.
const LAST_BLOCK: u64 = 9_999;

/// Gives the rules whose tensors are drawn their layer ids, no two of them alike.
pub(super) fn number(rules: &mut [Rule]) {
    let mut next = 0;
    let mut rows: Vec<(&str, u64, Vec<usize>)> = Vec::new();
    let mut at: BTreeMap<&str, usize> = BTreeMap::new();
    let numbers: Vec<Numbers> = rules.iter().map(|rule| rule.numbers.clone()).collect();
    for (n, rule) in rules.iter_mut().enumerate().filter(|(_, rule)| rule.start.topic.is_random()) {
        match &numbers[n] {
            Numbers::One => {
                rule.layer = Layer::Id(next);
                next += ids(rule);
            }
            Numbers::Star { before, last } if *last <= LAST_BLOCK => {
                let row = *at.entry(before).or_insert_with(|| {
                    rows.push((before, 0, Vec::new()));
                    rows.len() - 1
                });
                rows[row].1 = rows[row].1.max(*last);
                rows[row].2.push(n);
            }
            Numbers::None | Numbers::Star { .. } => {}
        }
    }
    for (_, last, row) in rows {
        let width: u64 = row.iter().map(|n| ids(&rules[*n])).sum();
        let step = if width == 1 { 1 } else { width.next_multiple_of(10) };
        let base = round(next);
        let mut offset = 0;
        for n in row {
            rules[n].layer = Layer::By { base: base + offset, step };
            offset += ids(&rules[n]);
        }
        next = base + step * (last + 1);
    }
}

/// How many ids a tensor of the rule takes: three where it can be cut in three.
fn ids(rule: &Rule) -> u64 {
    if rule.start.fused { 3 } else { 1 }
}

/// The next round number.
fn round(n: u64) -> u64 {
    match n {
        0..=100 => n.next_multiple_of(10),
        101..=1000 => n.next_multiple_of(100),
        _ => n.next_multiple_of(1000),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::family::{Guess, OUT_IN, Topic};
    use super::*;

    fn rule(topic: Topic, fused: bool, numbers: Numbers) -> Rule {
        let start = Guess { topic, init: String::new(), layout: OUT_IN, fused };
        Rule { start, patterns: Vec::new(), members: vec![0], numbers, layer: Layer::Auto, tied: false }
    }

    fn star(before: &str, last: u64) -> Numbers {
        Numbers::Star { before: before.to_owned(), last }
    }

    fn layers(mut rules: Vec<Rule>) -> Vec<Layer> {
        number(&mut rules);
        rules.into_iter().map(|rule| rule.layer).collect()
    }

    #[test]
    fn single_tensors_come_first_and_rows_begin_at_round_numbers() {
        use Layer::{Auto, By, Id};
        let weight = |numbers| rule(Topic::Weight, false, numbers);
        let found = layers(vec![
            rule(Topic::Embedding, false, Numbers::One),
            rule(Topic::Norm, false, Numbers::One),
            weight(star("h.", 11)),
            rule(Topic::Weight, true, star("h.", 2)),
            weight(star("h.", 11)),
            weight(star("fc", 3)),
            weight(Numbers::None),
            weight(star("date", LAST_BLOCK + 1)),
            rule(Topic::Weight, true, Numbers::One),
        ]);
        let step = 10;
        let expected = [
            Id(0),
            Auto,
            By { base: 10, step },
            By { base: 11, step },
            By { base: 14, step },
            By { base: 200, step: 1 },
            Auto,
            Auto,
            Id(1),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn no_id_is_given_twice() {
        let mut rules = Vec::new();
        for n in 0..40 {
            rules.push(rule(Topic::Weight, n % 3 == 0, star(["a.", "b.", "c"][n % 3], 7 + n as u64)));
            rules.push(rule(Topic::Weight, n % 5 == 0, Numbers::One));
        }
        number(&mut rules);
        let mut seen = BTreeSet::new();
        for rule in &rules {
            let last = if let Numbers::Star { last, .. } = &rule.numbers { *last } else { 0 };
            for c in 0..=last {
                let id = match rule.layer {
                    Layer::Id(id) => id,
                    Layer::By { base, step } => base + step * c,
                    Layer::Auto => panic!("{rule:?}"),
                };
                (id..id + ids(rule)).for_each(|id| assert!(seen.insert(id), "{id}"));
            }
        }
    }
}
