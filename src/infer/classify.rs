//! The kind of a tensor, inferred from its name, its shape and its neighbours.

use super::name::{Tensors, is_number, segments};
use crate::tensor::Shape;

/// What a tensor is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TensorKind {
    /// A table of vectors.
    Embedding,
    /// Learnt positions that are no table of a layer of their own.
    Position,
    /// A learnt vector that joins the sequence.
    Token,
    /// The weight of a linear layer; where it is fused, its name says that it is query, key and value in one.
    Linear {
        fused: bool,
    },
    /// The weight of a convolution, transposed or not.
    Conv,
    /// PyTorch's MultiheadAttention: its input projections.
    AttentionIn,
    /// PyTorch's MultiheadAttention: a vector that joins keys or values.
    AttentionExtra,
    /// Weights and biases of PyTorch's recurrent layers.
    Recurrent {
        hidden: usize,
    },
    NormScale,
    /// A bias whose layer's weight is `X.weight` beside `X.bias`.
    Bias,
    /// A norm's bias, or one whose weight is not beside it.
    LoneBias,
    /// The slope of a PReLU.
    Slope,
    LoraA,
    LoraB,
    /// Running statistics.
    Statistic,
    /// Masks, frequencies, tables of sines: computed, not learnt.
    Buffer,
    Unknown,
}

/// A name's last part, the one before it, and where they are.
struct Place<'n> {
    name: &'n str,
    leaf: &'n str,
    parent: &'n str,
    /// The nearest part before the leaf that is no number.
    module: &'n str,
}

impl<'n> Place<'n> {
    fn new(name: &'n str) -> Self {
        let mut back = segments(name).rev().map(|(_, segment)| segment);
        let leaf = back.next().unwrap_or_default();
        let parent = back.next().unwrap_or_default();
        let module = std::iter::once(parent).chain(back).find(|s| !is_number(s)).unwrap_or_default();
        // TensorFlow's variables have a number after a colon.
        let leaf = leaf.strip_suffix(":0").unwrap_or(leaf);
        Self { name, leaf, parent, module }
    }

    /// The shape of the tensor that stands beside this one under another last part.
    fn beside<'t>(&self, all: &Tensors<'t>, leaf: &str) -> Option<&'t Shape> {
        let start = self.name.rfind(['.', '/']).map_or(0, |at| at + 1);
        let colon = if self.name.ends_with(":0") { ":0" } else { "" };
        all.get(format!("{}{leaf}{colon}", &self.name[..start]).as_str()).copied()
    }

    /// The shape of the tensor that stands in the module which this one's module is in.
    fn above<'t>(&self, all: &Tensors<'t>, leaf: &str) -> Option<&'t Shape> {
        let module = &self.name[..self.name.rfind(['.', '/'])?];
        let start = module.rfind(['.', '/']).map_or(0, |at| at + 1);
        all.get(format!("{}{leaf}", &module[..start]).as_str()).copied()
    }
}

/// What the tensor `name` of this shape is.
pub(super) fn classify(name: &str, shape: &Shape, all: &Tensors<'_>) -> TensorKind {
    let place = Place::new(name);
    lora(&place)
        .or_else(|| computed(&place, shape, all))
        .or_else(|| attention(&place, all))
        .or_else(|| recurrent(&place, all))
        .or_else(|| bias(&place, shape, all))
        .or_else(|| norm(&place, shape, all))
        .or_else(|| embedding(&place, shape, all))
        .or_else(|| weight(&place, shape, all))
        .unwrap_or(TensorKind::Unknown)
}

/// Low-rank adapters: PEFT's names, and those of kohya and diffusers.
fn lora(place: &Place<'_>) -> Option<TensorKind> {
    let mut before = "";
    for (_, segment) in segments(place.name) {
        let after_lora = before.ends_with("lora");
        match segment {
            "lora_A" | "lora_down" => return Some(TensorKind::LoraA),
            "lora_B" | "lora_up" => return Some(TensorKind::LoraB),
            "down" if after_lora => return Some(TensorKind::LoraA),
            "up" if after_lora => return Some(TensorKind::LoraB),
            // Of an embedding, PEFT starts A with zeros and B with normal(0, 1).
            "lora_embedding_A" => return Some(TensorKind::LoraB),
            "lora_embedding_B" => return Some(TensorKind::Embedding),
            _ => before = segment,
        }
    }
    None
}

/// What no training changes.
fn computed(place: &Place<'_>, shape: &Shape, all: &Tensors<'_>) -> Option<TensorKind> {
    let Place { name, leaf, module, .. } = *place;
    let statistics = ["running_mean", "running_var", "moving_mean", "moving_variance"];
    let flax = matches!(leaf, "mean" | "var") && segments(name).any(|(_, s)| s == "batch_stats");
    if statistics.contains(&leaf) || flax {
        return Some(TensorKind::Statistic);
    }
    let buffers = [
        "attn_mask",
        "causal_mask",
        "cos_cached",
        "freqs",
        "freqs_cis",
        "inv_freq",
        "mask",
        "masked_bias",
        "num_batches_tracked",
        "original_inv_freq",
        "position_ids",
        "relative_position_index",
        "sin_cached",
        "weight_u",
    ];
    // GPT-2's causal mask is called `bias`: [1, 1, n, n].
    let mask = leaf == "bias" && matches!(shape.dims(), [1, 1, n, m] if n == m);
    // Whisper's encoder has sines where its decoder has learnt positions.
    let sines = module == "embed_positions"
        && name.strip_suffix("embed_positions.weight").is_some_and(|encoder| {
            encoder.ends_with("encoder.") && all.contains_key(format!("{encoder}conv1.weight").as_str())
        });
    (buffers.contains(&leaf) || mask || sines).then_some(TensorKind::Buffer)
}

/// `torch.nn.MultiheadAttention`.
fn attention(place: &Place<'_>, all: &Tensors<'_>) -> Option<TensorKind> {
    match place.leaf {
        "in_proj_weight" => Some(TensorKind::AttentionIn),
        "q_proj_weight" | "k_proj_weight" | "v_proj_weight" => Some(TensorKind::AttentionIn),
        "bias_k" | "bias_v" => Some(TensorKind::AttentionExtra),
        // Its output projection is a Linear whose bias starts at zero, as no other's does.
        "bias" if place.parent == "out_proj" => {
            let attention =
                ["in_proj_weight", "q_proj_weight"].iter().any(|leaf| place.above(all, leaf).is_some());
            attention.then_some(TensorKind::LoneBias)
        }
        _ => None,
    }
}

/// `torch.nn.LSTM`, `GRU`, `RNN` and their cells: `weight_ih_l0`, `bias_hh_l1_reverse`, `weight_hh`.
fn recurrent(place: &Place<'_>, all: &Tensors<'_>) -> Option<TensorKind> {
    let of_layer = ["weight_ih", "weight_hh", "weight_hr", "bias_ih", "bias_hh"]
        .iter()
        .find_map(|kind| place.leaf.strip_prefix(kind))?;
    if !(of_layer.is_empty() || of_layer.starts_with("_l")) {
        return None;
    }
    // With a projection (`weight_hr`, [projected, hidden]) `weight_hh` is as wide as the projected state.
    let state = place
        .beside(all, &format!("weight_hr{of_layer}"))
        .or_else(|| place.beside(all, &format!("weight_hh{of_layer}")))?;
    match state.dims() {
        [_, hidden] if *hidden > 0 => Some(TensorKind::Recurrent { hidden: *hidden }),
        _ => None,
    }
}

fn bias(place: &Place<'_>, shape: &Shape, all: &Tensors<'_>) -> Option<TensorKind> {
    let leaf = place.leaf;
    if leaf == "relative_position_bias_table" {
        return Some(TensorKind::Position);
    }
    if leaf != "bias" && leaf != "beta" && !leaf.ends_with("_bias") {
        return None;
    }
    // A fan-in of 0 would have no bound.
    let linear = |weight: &Shape| weight.rank() >= 2 && weight.dims()[1..].iter().all(|d| *d > 0);
    let own_norm = |weight: &Shape| is_norm(place.parent) && weight == shape;
    match place.beside(all, "weight") {
        Some(weight) if leaf == "bias" && linear(weight) && !own_norm(weight) => Some(TensorKind::Bias),
        _ => Some(TensorKind::LoneBias),
    }
}

/// Whether a module of this name is a norm.
fn is_norm(module: &str) -> bool {
    let lower = module.to_ascii_lowercase();
    let short =
        |word| lower.strip_prefix(word).is_some_and(|rest: &str| rest.len() <= 2 || rest.starts_with('_'));
    lower.contains("norm") || short("ln") || short("bn")
}

fn norm(place: &Place<'_>, shape: &Shape, all: &Tensors<'_>) -> Option<TensorKind> {
    let Place { leaf, parent, module, .. } = *place;
    let scale = match (leaf, shape.rank()) {
        ("weight", 1) => {
            return Some(if module.contains("prelu") { TensorKind::Slope } else { TensorKind::NormScale });
        }
        // LayerNorm over several dimensions: its bias, where it has one, has the same shape.
        ("weight", 2..) => is_norm(parent) && place.beside(all, "bias").is_none_or(|bias| bias == shape),
        ("scale" | "g", 1) => true,
        // Without a `beta` it is a scale on a residual branch, whose start is a setting.
        ("gamma", _) => place.beside(all, "beta").is_some() || is_norm(parent),
        _ => false,
    };
    scale.then_some(TensorKind::NormScale)
}

fn embedding(place: &Place<'_>, shape: &Shape, all: &Tensors<'_>) -> Option<TensorKind> {
    let Place { leaf, module, .. } = *place;
    let lower = leaf.to_ascii_lowercase();
    match (leaf, shape.rank()) {
        ("embedding" | "embeddings", 2) => Some(TensorKind::Embedding),
        ("weight", 2) => {
            // A table has no bias; a projection into or out of the embedding's space is no table.
            let module = module.to_ascii_lowercase();
            let projects =
                ["proj", "mapping", "linear", "dense", "out", "fc"].iter().any(|w| module.contains(w));
            let table = module.contains("emb")
                || ["wte", "wpe", "shared", "relative_attention_bias"].contains(&module.as_str());
            (table && !projects && place.beside(all, "bias").is_none()).then_some(TensorKind::Embedding)
        }
        ("weight" | "kernel" | "bias", _) => None,
        (_, 2..) if lower.ends_with("token") || lower.ends_with("tokens") => Some(TensorKind::Token),
        (_, 1..) if lower == "class_embedding" => Some(TensorKind::Token),
        (_, 2..) if lower.starts_with("pos") || lower.contains("embed") || lower.contains("pos_emb") => {
            Some(TensorKind::Position)
        }
        _ => None,
    }
}

fn weight(place: &Place<'_>, shape: &Shape, all: &Tensors<'_>) -> Option<TensorKind> {
    let Place { leaf, module, .. } = *place;
    // Weight normalisation keeps direction and length apart; the length starts as the norm of
    // the direction's rows.
    let direction = leaf == "original1" || (leaf == "weight_v" && place.beside(all, "weight_g").is_some());
    let named = matches!(leaf, "weight" | "weight_orig") || leaf.ends_with("kernel") || direction;
    match shape.rank() {
        // A matrix of one's own making, such as the stacked experts of a mixture.
        2.. if !named => (leaf.ends_with("proj") || leaf.ends_with("_weight"))
            .then_some(TensorKind::Linear { fused: false }),
        2 => Some(TensorKind::Linear { fused: is_fused(module) }),
        3..=5 => Some(TensorKind::Conv),
        _ => None,
    }
}

/// Whether a module of this name has query, key and value side by side, one whole after the other.
/// (`query_key_value` and `in_proj` have them head by head.)
fn is_fused(module: &str) -> bool {
    ["qkv", "to_qkv", "qkv_proj", "Wqkv", "c_attn", "W_pack"].contains(&module)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(tensors: &[(&str, &[usize])]) -> Vec<TensorKind> {
        let shapes: Vec<Shape> = tensors.iter().map(|(_, dims)| Shape::new(dims.to_vec()).unwrap()).collect();
        let all: Tensors<'_> = tensors.iter().map(|(name, _)| *name).zip(&shapes).collect();
        tensors.iter().map(|(name, _)| classify(name, all[name], &all)).collect()
    }

    #[test]
    fn neighbours_decide_about_biases() {
        use TensorKind::{AttentionIn, Bias, Buffer, Linear, LoneBias, NormScale};
        let linear = Linear { fused: false };
        let all = [
            ("fc.weight", &[4, 3][..], linear),
            ("fc.bias", &[4], Bias),
            ("norm.weight", &[4], NormScale),
            ("norm.bias", &[4], LoneBias),
            ("cls.bias", &[4], LoneBias),
            ("ln_2d.weight", &[4, 3], NormScale),
            ("ln_2d.bias", &[4, 3], LoneBias),
            ("empty.weight", &[4, 0], linear),
            ("empty.bias", &[4], LoneBias),
            ("attn.in_proj_weight", &[12, 4], AttentionIn),
            ("attn.in_proj_bias", &[12], LoneBias),
            ("attn.out_proj.weight", &[4, 4], linear),
            ("attn.out_proj.bias", &[4], LoneBias),
            ("h.0.attn.bias", &[1, 1, 8, 8], Buffer),
            ("bias", &[4], LoneBias),
        ];
        let tensors: Vec<_> = all.iter().map(|(name, dims, _)| (*name, *dims)).collect();
        for (kind, (name, _, expected)) in kinds(&tensors).into_iter().zip(all) {
            assert_eq!(kind, expected, "{name}");
        }
    }

    #[test]
    fn tables_and_what_only_sounds_like_one() {
        use TensorKind::{Embedding, Linear, Position, Token};
        let linear = Linear { fused: false };
        for (name, dims, expected) in [
            ("embeddings.word_embeddings.weight", &[9, 4][..], Embedding),
            ("transformer.wte.weight", &[9, 4], Embedding),
            ("emb.0.weight", &[9, 4], Embedding),
            ("block.0.SelfAttention.relative_attention_bias.weight", &[32, 4], Embedding),
            ("params/Embed_0/embedding", &[9, 4], Embedding),
            ("time_emb_proj.weight", &[9, 4], linear),
            ("time_embedding.linear_1.weight", &[9, 4], linear),
            ("embed_out.weight", &[9, 4], linear),
            ("patch_embed.proj.weight", &[4, 3, 2, 2], TensorKind::Conv),
            ("pos_embed", &[1, 5, 4], Position),
            ("positional_embedding", &[5, 4], Position),
            ("cls_token", &[1, 1, 4], Token),
            ("relative_position_bias_table", &[9, 4], Position),
        ] {
            assert_eq!(kinds(&[(name, dims)]), [expected], "{name}");
        }
        let with_bias = [("time_embed.0.weight", &[9, 4][..]), ("time_embed.0.bias", &[9])];
        assert_eq!(kinds(&with_bias), [linear, TensorKind::Bias]);
    }

    #[test]
    fn odd_tensors_are_of_no_kind() {
        for (name, dims) in [
            ("logit_scale", &[][..]),
            ("weight", &[]),
            ("A_log", &[4, 2]),
            ("ls1.gamma", &[4]),
            ("scales", &[4, 2]),
            ("weight_scale", &[1]),
            ("w.weight", &[1, 1, 1, 1, 1, 1]),
            ("", &[2, 2]),
        ] {
            assert_eq!(kinds(&[(name, dims)]), [TensorKind::Unknown], "{name}");
        }
    }

    #[test]
    fn recurrent_layers_know_their_state() {
        let lstm = [("a.weight_ih_l0", &[12, 5][..]), ("a.weight_hh_l0", &[12, 3]), ("a.bias_ih_l0", &[12])];
        assert_eq!(kinds(&lstm), [TensorKind::Recurrent { hidden: 3 }; 3]);
        let projected = [("weight_hh_l0", &[12, 2][..]), ("weight_hr_l0", &[2, 3])];
        assert_eq!(kinds(&projected), [TensorKind::Recurrent { hidden: 3 }; 2]);
    }
}
