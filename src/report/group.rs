//! The rows of a report that people look at: one per tensor, or, of a model with very many,
//! one per kind of layer.

use std::collections::HashMap;

use super::model::{Report, ReportTensor};

/// More tensors than this are grouped: what a person can still take in at a glance.
pub const MOST_ROWS: usize = 40;

/// One tensor, or all whose names differ in their layers' numbers only.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Row {
    /// The tensor's name; of several, their pattern, with `*` for the numbers.
    pub name: String,
    /// How many tensors these are.
    pub tensors: usize,
    /// Their shape, if it is one.
    pub shape: Option<Vec<usize>>,
    /// Their type, if it is one.
    pub dtype: Option<String>,
    /// What made their initial values, if it is the same.
    pub init: Option<String>,
    /// Weights.
    pub weights: u64,
    /// Of them, those compared with an initial value.
    pub compared: u64,
    /// Sleeping weights; `None` where none was compared. So for all that follow.
    pub sleeping: Option<u64>,
    /// Their share of those compared, 0 … 100.
    pub share: Option<f64>,
    /// The smallest share of one of the tensors.
    pub least_share: Option<f64>,
    /// The largest.
    pub most_share: Option<f64>,
    /// Outputs whose every weight sleeps.
    pub outputs: Option<u64>,
    /// Inputs whose every weight sleeps.
    pub inputs: Option<u64>,
    /// Median of |delta|, of several tensors the largest.
    pub p50: Option<f64>,
    /// 99th percentile of |delta|, of several tensors the largest.
    pub p99: Option<f64>,
    /// Largest |delta|.
    pub max: Option<f64>,
    /// Standard deviation now over that at the start, of several tensors the one farthest from 1.
    pub std_ratio: Option<f64>,
    /// Weights that are zero.
    pub zeros: Option<u64>,
    /// Weights that are NaN or infinite.
    pub not_finite: Option<u64>,
    /// What pruning did with them, if it is the same.
    pub action: Option<String>,
    /// Places pruned.
    pub pruned: Option<u64>,
}

impl Row {
    /// The name, with the number of tensors behind a pattern: `h.*.attn.weight (24)`.
    pub fn title(&self) -> String {
        if self.tensors == 1 { self.name.clone() } else { format!("{} ({})", self.name, self.tensors) }
    }

    /// The last row: what the report's tensors come to, of which `rows` are the rows.
    pub fn total(report: &Report, rows: &[Self]) -> Self {
        let totals = &report.totals;
        Self {
            name: "total".to_owned(),
            tensors: 1,
            weights: totals.total_weights,
            sleeping: totals.changes.sleeping_weights,
            share: totals.changes.sleeping_percentage,
            outputs: rows.iter().fold(None, |all, row| sum(all, row.outputs)),
            inputs: rows.iter().fold(None, |all, row| sum(all, row.inputs)),
            max: totals.changes.max_delta,
            zeros: totals.zeros,
            pruned: totals.pruned_weights,
            ..Self::default()
        }
    }

    /// One pass over the tensors, which are large: very many are in no cache.
    fn of(name: String, tensors: &[&ReportTensor]) -> Self {
        let mut row = Self { name, tensors: tensors.len(), ..Self::default() };
        let mut same = Same::default();
        for tensor in tensors {
            same.add(tensors[0], tensor);
            row.add(tensor);
        }
        row.share = match tensors {
            [tensor] => tensor.changes.sleeping_percentage,
            _ => row.sleeping.map(|n| 100.0 * super::share(n, row.compared)),
        };
        if let Some(first) = tensors.first() {
            let Same([shape, dtype, init, action]) = same;
            row.shape = shape.then(|| first.shape.clone());
            row.dtype = dtype.then(|| first.dtype.clone());
            row.init = first.init.clone().filter(|_| init);
            row.action = first.action.clone().filter(|_| action);
        }
        row
    }

    fn add(&mut self, tensor: &ReportTensor) {
        let ReportTensor { changes, drift, total_weights, .. } = tensor;
        self.weights += total_weights;
        self.compared += changes.sleeping_weights.map_or(0, |_| *total_weights);
        self.sleeping = sum(self.sleeping, changes.sleeping_weights);
        let share = || self.least_share.into_iter().chain(changes.sleeping_percentage);
        self.least_share = share().min_by(f64::total_cmp);
        self.most_share = largest(self.most_share, changes.sleeping_percentage);
        self.outputs = sum(self.outputs, tensor.sleeping_outputs);
        self.inputs = sum(self.inputs, tensor.sleeping_inputs);
        self.p50 = largest(self.p50, drift.delta_quantiles.map(|q| q.p50));
        self.p99 = largest(self.p99, drift.delta_quantiles.map(|q| q.p99));
        self.max = largest(self.max, changes.max_delta);
        let from_one = |x: &f64| x.max(1.0 / x);
        let ratios = self.std_ratio.into_iter().chain(drift.std_ratio);
        self.std_ratio = ratios.max_by(|a, b| from_one(a).total_cmp(&from_one(b)));
        self.zeros = sum(self.zeros, tensor.zeros);
        self.not_finite = sum(self.not_finite, tensor.not_finite);
        self.pruned = sum(self.pruned, tensor.pruned_weights);
    }
}

/// Whether shape, type, initial values and action of all tensors are those of the first.
struct Same([bool; 4]);

impl Default for Same {
    fn default() -> Self {
        Self([true; 4])
    }
}

impl Same {
    fn add(&mut self, first: &ReportTensor, other: &ReportTensor) {
        let Self([shape, dtype, init, action]) = self;
        *shape &= other.shape == first.shape;
        *dtype &= other.dtype == first.dtype;
        *init &= other.init == first.init;
        *action &= other.action == first.action;
    }
}

/// The report's rows in name order. With `full`, or of no more than [`MOST_ROWS`] tensors,
/// each tensor has its own.
pub fn rows(report: &Report, full: bool) -> Vec<Row> {
    let names: Vec<&str> = report.tensors.iter().map(|t| t.name.as_str()).collect();
    groups(&names, full)
        .into_iter()
        .map(|(name, members)| {
            let tensors: Vec<&ReportTensor> = members.iter().map(|n| &report.tensors[*n]).collect();
            Row::of(name, &tensors)
        })
        .collect()
}

/// Places of the names in each group, in the order in which groups begin. What has no like keeps its name.
pub(super) fn groups(names: &[&str], full: bool) -> Vec<(String, Vec<usize>)> {
    let singles = || names.iter().enumerate().map(|(n, name)| ((*name).to_owned(), vec![n])).collect();
    if full || names.len() <= MOST_ROWS {
        return singles();
    }
    let grouped = group(names, false);
    if grouped.len() <= MOST_ROWS { grouped } else { group(names, true) }
}

fn group(names: &[&str], glued: bool) -> Vec<(String, Vec<usize>)> {
    let mut groups: Vec<(String, Vec<usize>)> = Vec::new();
    let mut places = HashMap::new();
    for (n, name) in names.iter().enumerate() {
        let pattern = pattern(name, glued);
        let place = *places.entry(pattern).or_insert_with_key(|pattern| {
            groups.push((pattern.clone(), Vec::new()));
            groups.len() - 1
        });
        groups[place].1.push(n);
    }
    for (pattern, members) in &mut groups {
        if let [only] = members[..] {
            names[only].clone_into(pattern);
        }
    }
    groups
}

/// The name with `*` for each number that stands alone between separators; `glued`, for those at a word's end
/// too (`h12`, `block3`), which are as often a layer's number as part of its kind (`conv1`, `fc2`).
fn pattern(name: &str, glued: bool) -> String {
    const SEPARATORS: [char; 5] = ['.', '_', '/', '-', ':'];
    let mut out = String::with_capacity(name.len());
    for piece in name.split_inclusive(SEPARATORS) {
        let word = piece.trim_end_matches(SEPARATORS);
        let stem = word.trim_end_matches(|c: char| c.is_ascii_digit());
        if stem.len() < word.len() && (stem.is_empty() || glued) {
            out.push_str(stem);
            out.push('*');
        } else {
            out.push_str(word);
        }
        out.push_str(&piece[word.len()..]);
    }
    out
}

/// `None` where no one has a value.
fn sum(sum: Option<u64>, n: Option<u64>) -> Option<u64> {
    sum.map_or(n, |sum| Some(sum + n.unwrap_or(0)))
}

fn largest(largest: Option<f64>, x: Option<f64>) -> Option<f64> {
    largest.into_iter().chain(x).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_between_separators_are_the_layers() {
        for (name, expected) in [
            ("h.0.attn.qkv.weight", "h.*.attn.qkv.weight"),
            ("model.layers.31.mlp.up_proj.weight", "model.layers.*.mlp.up_proj.weight"),
            ("Dense_12/kernel", "Dense_*/kernel"),
            ("layer1.0.conv2.weight", "layer1.*.conv2.weight"),
            ("blocks.10.experts.3.w1", "blocks.*.experts.*.w1"),
            ("12", "*"),
            ("a.3d.b", "a.3d.b"),
            ("a..0_", "a..*_"),
            ("fc1.weight", "fc1.weight"),
            ("λ.7.ß8", "λ.*.ß8"),
            ("", ""),
        ] {
            assert_eq!(pattern(name, false), expected);
        }
    }

    #[test]
    fn numbers_at_the_end_of_words_are_layers_only_where_that_is_asked_for() {
        assert_eq!(pattern("h0.ln1.weight", false), "h0.ln1.weight");
        assert_eq!(pattern("h0.ln1.weight", true), "h*.ln*.weight");
        assert_eq!(pattern("layer1.0.conv2.weight", true), "layer*.*.conv*.weight");
        assert_eq!(pattern("2x2.w", true), "2x*.w");
    }

    fn grouped(names: &[String], full: bool) -> Vec<(String, usize)> {
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        groups(&names, full).into_iter().map(|(name, members)| (name, members.len())).collect()
    }

    #[test]
    fn only_more_than_forty_tensors_are_grouped() {
        let names: Vec<String> = (0..41).map(|n| format!("h.{n}.w")).collect();
        assert_eq!(grouped(&names[..40], false).len(), 40);
        assert_eq!(grouped(&names, true).len(), 41);
        assert_eq!(grouped(&names, false), [("h.*.w".to_owned(), 41)]);
    }

    #[test]
    fn what_has_no_like_keeps_its_name_and_groups_stand_where_they_begin() {
        let mut names: Vec<String> = (0..40).map(|n| format!("h.{n}.w")).collect();
        names.insert(3, "ln.7.weight".to_owned());
        names.push("tok_emb.weight".to_owned());
        let expected = [("h.*.w", 40), ("ln.7.weight", 1), ("tok_emb.weight", 1)];
        assert_eq!(grouped(&names, false), expected.map(|(name, n)| (name.to_owned(), n)));
    }

    #[test]
    fn words_that_end_in_numbers_are_layers_where_nothing_else_makes_forty_rows_of_them() {
        let names: Vec<String> = (0..60).map(|n| format!("h{n}.mlp.weight")).collect();
        assert_eq!(grouped(&names, false), [("h*.mlp.weight".to_owned(), 60)]);
        // Here the numbers that stand alone do.
        let names: Vec<String> = (0..60).map(|n| format!("layer{}.{}.conv.weight", n % 4, n / 4)).collect();
        assert_eq!(grouped(&names, false).len(), 4);
        assert_eq!(grouped(&names, false)[1], ("layer1.*.conv.weight".to_owned(), 15));
    }
}
