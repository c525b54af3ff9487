//! What the dimensions of a tensor are, where that is neither `out_in` nor `in_out`.

use super::name::{Tensors, segments};
use crate::tensor::Shape;

/// The layout of stacked experts: three dimensions, and a name that says so. Which of the last two are the
/// outputs is told by the projections beside it, of which the first is twice as wide as the second one's
/// inputs; else by what is usual.
pub(super) fn experts(name: &str, shape: &Shape, all: &Tensors<'_>, in_out: bool) -> Option<&'static str> {
    if shape.rank() != 3 || !segments(name).any(|(_, part)| part.to_ascii_lowercase().contains("expert")) {
        return None;
    }
    let beside = |leaf: &str| {
        let start = name.rfind(['.', '/']).map_or(0, |at| at + 1);
        match all.get(format!("{}{leaf}", &name[..start]).as_str())?.dims() {
            [_, a, b] => Some((*a, *b)),
            _ => None,
        }
    };
    let inputs_first = match (beside("gate_up_proj"), beside("down_proj")) {
        (Some((outputs, hidden)), Some((back, inner))) if outputs == 2 * inner && hidden == back => false,
        (Some((hidden, outputs)), Some((inner, back))) if outputs == 2 * inner && hidden == back => true,
        _ => in_out,
    };
    Some(if inputs_first { "[expert, in, out]" } else { "[expert, out, in]" })
}

/// The layout of a transposed convolution of PyTorch, which has its inputs first: told by a bias that is as
/// long as the second dimension, or by the module's name.
pub(super) fn transposed(name: &str, shape: &Shape, all: &Tensors<'_>) -> Option<&'static str> {
    let layout = match shape.rank() {
        3 => "[in, out, kernel]",
        4 => "[in, out, kernel, kernel]",
        5 => "[in, out, kernel, kernel, kernel]",
        _ => return None,
    };
    let module = name.rsplit_once('.').map_or("", |(module, _)| module);
    let bias = all.get(format!("{module}.bias").as_str()).map(|bias| bias.elements());
    let (first, second) = (shape.dims()[0], shape.dims()[1]);
    let named = ["transpose", "deconv"].iter().any(|word| module.to_ascii_lowercase().contains(word));
    let told = match bias {
        Some(outputs) if first != second => outputs == second,
        _ => named,
    };
    told.then_some(layout)
}

/// The layout of Flax's attention: of queries, keys and values `[width, heads, width of a head]`, of the
/// output projection `[heads, width of a head, width]`.
pub(super) fn heads(name: &str, shape: &Shape) -> Option<&'static str> {
    let module = segments(name).rev().nth(1).map(|(_, part)| part)?;
    match (shape.rank(), module) {
        (3, "query" | "key" | "value") => Some("[in, out, out]"),
        (3, "out") => Some("[in, in, out]"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(
        tensors: &[(&str, &[usize])],
        which: fn(&str, &Shape, &Tensors<'_>) -> Option<&'static str>,
    ) -> Option<&'static str> {
        let shapes: Vec<Shape> = tensors.iter().map(|(_, dims)| Shape::new(dims.to_vec()).unwrap()).collect();
        let all: Tensors<'_> = tensors.iter().map(|(name, _)| *name).zip(&shapes).collect();
        which(tensors[0].0, &shapes[0], &all)
    }

    #[test]
    fn experts_are_told_by_their_names_and_neighbours() {
        let of =
            |tensors: &[(&str, &[usize])]| told(tensors, |name, shape, all| experts(name, shape, all, false));
        let (gate_up, down) = ("mlp.experts.gate_up_proj", "mlp.experts.down_proj");
        assert_eq!(of(&[(gate_up, &[4, 12, 8]), (down, &[4, 8, 6])]), Some("[expert, out, in]"));
        assert_eq!(of(&[(gate_up, &[4, 8, 12]), (down, &[4, 6, 8])]), Some("[expert, in, out]"));
        assert_eq!(of(&[(down, &[4, 6, 8]), (gate_up, &[4, 8, 12])]), Some("[expert, in, out]"));
        assert_eq!(of(&[("experts.w1_weight", &[4, 8, 6])]), Some("[expert, out, in]"));
        assert_eq!(of(&[("experts.w1_weight", &[8, 6])]), None);
        assert_eq!(of(&[("mlp.gate_up_proj", &[4, 8, 6])]), None);
    }

    #[test]
    fn transposed_convolutions_are_told_by_their_bias_or_name() {
        let of = |tensors: &[(&str, &[usize])]| told(tensors, transposed);
        let layout = Some("[in, out, kernel, kernel]");
        assert_eq!(of(&[("up.weight", &[8, 4, 2, 2]), ("up.bias", &[4])]), layout);
        assert_eq!(of(&[("up.weight", &[8, 4, 2, 2]), ("up.bias", &[8])]), None);
        assert_eq!(of(&[("up.weight", &[8, 4, 2, 2])]), None);
        assert_eq!(of(&[("deconv1.weight", &[8, 8, 2, 2]), ("deconv1.bias", &[8])]), layout);
        assert_eq!(of(&[("convtranspose.weight", &[8, 4, 2])]), Some("[in, out, kernel]"));
    }

    #[test]
    fn heads_are_told_by_the_module() {
        let shape = Shape::new(vec![8, 2, 4]).unwrap();
        assert_eq!(heads("params/attention/query/kernel", &shape), Some("[in, out, out]"));
        assert_eq!(heads("params/attention/out/kernel", &shape), Some("[in, in, out]"));
        assert_eq!(heads("params/conv/kernel", &shape), None);
    }
}
