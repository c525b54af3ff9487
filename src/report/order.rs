//! The order in which a person walks through a model, and which tensors are of one kind. Names are all there
//! is to tell it by: safetensors files hold their tensors by type and name.

use std::cmp::Ordering;
use std::collections::BTreeMap;

/// Places of the names in the model's order, as far as names tell it: numbers as numbers, embeddings first,
/// last norms and heads last.
pub(super) fn by_depth(names: &[&str]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..names.len()).collect();
    let stage: Vec<u8> = names.iter().map(|name| stage(name)).collect();
    // Only a model of numbered blocks has a before and an after.
    let blocks = names.iter().any(|name| name.split('.').any(ends_in_digit));
    order.sort_by(|a, b| {
        let stages = if blocks { stage[*a].cmp(&stage[*b]) } else { Ordering::Equal };
        stages.then_with(|| natural(names[*a], names[*b]))
    });
    order
}

const FIRST: [&str; 5] = ["wte", "wpe", "stem", "tok", "pos"];
const LAST_NORM: [&str; 7] = ["norm", "lnf", "ln_f", "final_norm", "norm_f", "final_layer_norm", "ln_final"];
const HEAD: [&str; 5] = ["head", "lm_head", "classifier", "score", "output"];

fn stage(name: &str) -> u8 {
    let mut parts: Vec<&str> = name.split('.').collect();
    // The last part says weight or bias.
    parts.pop();
    let numbered = parts.iter().any(|part| ends_in_digit(part));
    let is = |known: &[&str]| parts.iter().any(|part| known.contains(part));
    match () {
        () if numbered => 1,
        () if is(&FIRST) || parts.iter().any(|part| part.contains("emb")) => 0,
        () if is(&HEAD) => 3,
        () if is(&LAST_NORM) => 2,
        () => 1,
    }
}

fn ends_in_digit(part: &str) -> bool {
    part.ends_with(|c: char| c.is_ascii_digit())
}

/// Digits compared as numbers, other characters by their code.
fn natural(a: &str, b: &str) -> Ordering {
    let (mut left, mut right) = (a, b);
    loop {
        let (x, y) = (digits(left), digits(right));
        if x > 0 && y > 0 {
            let (m, n) = (left[..x].trim_start_matches('0'), right[..y].trim_start_matches('0'));
            let order = m.len().cmp(&n.len()).then_with(|| m.cmp(n));
            if order != Ordering::Equal {
                return order;
            }
            (left, right) = (&left[x..], &right[y..]);
            continue;
        }
        match (left.chars().next(), right.chars().next()) {
            (Some(x), Some(y)) if x == y => {
                (left, right) = (&left[x.len_utf8()..], &right[y.len_utf8()..]);
            }
            // `01` and `1`: no two names are equal.
            (None, None) => return a.cmp(b),
            (x, y) => return x.cmp(&y),
        }
    }
}

fn digits(text: &str) -> usize {
    text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len()
}

/// The name with a star in place of each number.
pub(super) fn pattern(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    let mut number = false;
    for c in name.chars() {
        if !c.is_ascii_digit() {
            out.push(c);
        } else if !number {
            out.push('*');
        }
        number = c.is_ascii_digit();
    }
    out
}

/// The names by kinds, each kind where its first name stands. A kind of one is called by its name.
pub(super) fn kinds(names: &[&str], order: &[usize]) -> Vec<(String, Vec<usize>)> {
    let mut kinds: Vec<(String, Vec<usize>)> = Vec::new();
    let mut place: BTreeMap<String, usize> = BTreeMap::new();
    for n in order {
        let pattern = pattern(names[*n]);
        match place.get(&pattern) {
            Some(kind) => kinds[*kind].1.push(*n),
            None => {
                place.insert(pattern.clone(), kinds.len());
                kinds.push((pattern, vec![*n]));
            }
        }
    }
    for (pattern, members) in &mut kinds {
        if let [one] = members.as_slice() {
            *pattern = names[*one].to_owned();
        }
    }
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ordered<'n>(names: &[&'n str]) -> Vec<&'n str> {
        by_depth(names).into_iter().map(|n| names[n]).collect()
    }

    #[test]
    fn from_the_embedding_to_the_head() {
        assert_eq!(
            ordered(&[
                "h.0.ln.weight",
                "h.10.ln.weight",
                "h.2.ln.weight",
                "lm_head.weight",
                "ln_f.bias",
                "wte.weight"
            ]),
            ["wte.weight", "h.0.ln.weight", "h.2.ln.weight", "h.10.ln.weight", "ln_f.bias", "lm_head.weight"]
        );
        assert_eq!(
            ordered(&["model.embed_tokens.weight", "model.layers.0.norm.weight", "model.norm.weight"]),
            ["model.embed_tokens.weight", "model.layers.0.norm.weight", "model.norm.weight"]
        );
        // Without numbers there is no telling.
        assert_eq!(ordered(&["head.weight", "inner.weight"]), ["head.weight", "inner.weight"]);
    }

    #[test]
    fn natural_order_tells_all_names_apart() {
        assert_eq!(natural("a2", "a10"), Ordering::Less);
        assert_eq!(natural("a02", "a2"), Ordering::Less);
        assert_eq!(natural("a2b", "a2"), Ordering::Greater);
        assert_eq!(natural("a", "a"), Ordering::Equal);
        assert_eq!(natural("99999999999999999999998", "99999999999999999999999"), Ordering::Less);
    }

    #[test]
    fn kinds_are_names_but_for_their_numbers() {
        let names = ["h.0.a", "h.1.a", "h.10.a", "fc1.b"];
        assert_eq!(
            kinds(&names, &[3, 0, 1, 2]),
            [("fc1.b".to_owned(), vec![3]), ("h.*.a".to_owned(), vec![0, 1, 2])]
        );
    }
}
