//! Recognises the family of a model by its tensor names, and its initialiser for each kind of tensor.

use std::collections::BTreeSet;

use super::classify::TensorKind;
use super::layout;
use super::name::{Tensors, segments};
use crate::tensor::Shape;

/// A family of models.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Family {
    /// GPT-2's names, of Hugging Face (whose linear layers have their outputs last) or nanoGPT.
    Gpt2 {
        blocks: usize,
        conv1d: bool,
    },
    T5 {
        width: usize,
        heads: usize,
    },
    /// Hugging Face's ViT.
    HfViT,
    /// Other transformers of Hugging Face, Meta's Llama, minGPT.
    Transformer,
    /// timm's vision transformers.
    Timm,
    ResNet,
    /// torchvision's VGG and MobileNetV2.
    Vgg,
    Flax,
    Keras,
    Torch,
}

/// How a tensor is said to start.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Guess {
    pub topic: Topic,
    /// The value of a rule's `init`.
    pub init: String,
    /// What its dimensions are: the value of a rule's `layout`.
    pub layout: &'static str,
    /// Where a fused tensor could be cut in three.
    pub fused: bool,
}

/// What a rule is about, in the order in which rules stand: the exceptions before what they
/// are exceptions from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Topic {
    Embedding,
    Norm,
    Slope,
    Statistic,
    Buffer,
    Unknown,
    /// Tensors that the base of a fine-tuned model does not have.
    NotInBase,
    LoraB,
    LoraA,
    Recurrent,
    Weight,
    /// The one bias among zeros that starts as its layer's fan-in says.
    OneBias,
    Zero,
    /// Biases that start as their layer's fan-in says.
    Bias,
    /// Whatever the base has.
    Base,
    /// Whatever there is, where no initial value is asked for.
    Any,
}

impl Topic {
    /// Whether its tensors are drawn from the noise, and so have layer ids that matter.
    pub fn is_random(self) -> bool {
        matches!(
            self,
            Self::Embedding | Self::LoraA | Self::Recurrent | Self::Weight | Self::OneBias | Self::Bias
        )
    }
}

pub(super) const OUT_IN: &str = "out_in";
pub(super) const IN_OUT: &str = "in_out";

const NORMAL: &str = "{mode: normal, std: 0.02}";
const TRUNCATED: &str = "{mode: trunc_normal, std: 0.02}";

/// What transformers call their token tables: Hugging Face's BERT, GPT, Llama, NeoX and their kin,
/// Meta's Llama, minGPT.
const TABLES: [&str; 6] = ["embed_tokens", "wte", "word_embeddings", "tok_embeddings", "tok_emb", "embed_in"];

impl Family {
    /// The family of a checkpoint with these tensors.
    pub fn of(all: &Tensors<'_>) -> Self {
        let parts: BTreeSet<&str> = all.keys().flat_map(|name| segments(name)).map(|(_, s)| s).collect();
        let has = |part: &str| parts.contains(part);
        let has_all = |names: &[&str]| names.iter().all(|name| all.contains_key(name));
        let ends = |end: &str| all.keys().any(|name| name.ends_with(end));
        let leaves = |leaf: &str| {
            all.keys().filter(|n| n.ends_with(leaf) || n.ends_with(&format!("{leaf}:0"))).count()
        };
        let matrix = |end: &str| match all.iter().find(|(name, _)| name.ends_with(end))?.1.dims() {
            [a, b] => Some((*a, *b)),
            _ => None,
        };
        let keras = ["moving_mean", "moving_variance", "embeddings", "beta"].iter().any(|leaf| has(leaf))
            || all.keys().any(|name| name.ends_with(":0"));
        if leaves("kernel") > leaves("weight") {
            if keras { Self::Keras } else { Self::Flax }
        } else if has("c_attn") && has("c_proj") {
            let blocks = all.keys().filter(|name| name.ends_with("attn.c_proj.weight")).count().max(1);
            // Square weights do not show which way they lie; the first fused one speaks for all.
            let conv1d = matches!(matrix("c_attn.weight"), Some((inputs, outputs)) if outputs > inputs);
            Self::Gpt2 { blocks, conv1d }
        } else if let Some((_, width)) = matrix("SelfAttention.q.weight") {
            Self::T5 { width, heads: matrix("relative_attention_bias.weight").map_or(0, |(_, heads)| heads) }
        } else if ends("patch_embeddings.projection.weight") {
            Self::HfViT
        } else if ends("patch_embed.proj.weight") && ends("attn.qkv.weight") {
            Self::Timm
        } else if TABLES.iter().any(|table| has(table)) || ends("self_attn.q_proj.weight") {
            Self::Transformer
        } else if has_all(&["conv1.weight", "bn1.weight", "layer1.0.conv1.weight", "fc.weight"]) {
            Self::ResNet
        } else if has_all(&["features.0.weight", "classifier.0.weight", "classifier.6.weight"])
            || has_all(&["features.0.0.weight", "features.1.conv.0.0.weight", "classifier.1.weight"])
        {
            Self::Vgg
        } else {
            Self::Torch
        }
    }

    /// Whether outputs are the last dimension of every weight.
    pub fn in_out(&self) -> bool {
        matches!(self, Self::Flax | Self::Keras)
    }

    /// What the guess is, to end a sentence.
    pub fn guess(&self) -> &'static str {
        match self {
            Self::Gpt2 { .. } => {
                "GPT-2's normal distribution, standard deviation 0.02, smaller at the end of residual \
                 branches"
            }
            Self::T5 { .. } => "normal, scaled by the width, as in Hugging Face's T5",
            Self::HfViT => "truncated normal, standard deviation 0.02, as in Hugging Face's ViT",
            Self::Transformer => {
                "normal, standard deviation 0.02, as in BERT, Llama and most similar transformers"
            }
            Self::Timm => "truncated normal, standard deviation 0.02, as in timm's vision transformers",
            Self::ResNet => {
                "those of torchvision's ResNet: He with fan-out for convolutions, PyTorch's defaults for the \
                 rest"
            }
            Self::Vgg => {
                "those of torchvision's VGG and MobileNetV2: He with fan-out for convolutions, normal for \
                 linear layers"
            }
            Self::Flax => "Flax's defaults",
            Self::Keras => "Keras's defaults",
            Self::Torch => "the defaults of PyTorch's layers",
        }
    }

    /// How its code starts a tensor of this kind.
    pub fn start(&self, kind: TensorKind, name: &str, shape: &Shape, all: &Tensors<'_>) -> Guess {
        let constant =
            |topic, init: &str| Guess { topic, init: init.to_owned(), layout: OUT_IN, fused: false };
        let usual = if self.in_out() { IN_OUT } else { OUT_IN };
        let random = |topic, init: String| Guess { layout: usual, ..constant(topic, &init) };
        match kind {
            TensorKind::NormScale => constant(Topic::Norm, "ones"),
            TensorKind::Slope => constant(Topic::Slope, "{mode: constant, value: 0.25}"),
            TensorKind::Statistic => constant(Topic::Statistic, "none"),
            TensorKind::Buffer => constant(Topic::Buffer, "none"),
            TensorKind::Unknown => constant(Topic::Unknown, "none"),
            TensorKind::LoraA => constant(Topic::LoraA, "{mode: kaiming_uniform_, a: 2.23606797749979}"),
            TensorKind::LoraB => constant(Topic::LoraB, "zeros"),
            TensorKind::LoneBias => constant(Topic::Zero, "zeros"),
            TensorKind::Bias if self.biases_are_zero(name, all) => constant(Topic::Zero, "zeros"),
            TensorKind::Bias => constant(Topic::Bias, "{mode: torch_default, fan_in_of: \"*.weight\"}"),
            TensorKind::Recurrent { hidden } => {
                constant(Topic::Recurrent, &format!("{{mode: torch_default, fan_in: {hidden}}}"))
            }
            TensorKind::AttentionIn => constant(Topic::Weight, "xavier_uniform_"),
            TensorKind::AttentionExtra => constant(Topic::Weight, "xavier_normal_"),
            TensorKind::Embedding => match self {
                // Variance 1 / features: the fan-in of [vocabulary, features] where the outputs come first.
                Self::Flax => constant(Topic::Embedding, "lecun"),
                _ => random(Topic::Embedding, self.embedding(name)),
            },
            TensorKind::Position => random(Topic::Embedding, self.position()),
            TensorKind::Token => random(Topic::Embedding, self.token()),
            TensorKind::Linear { fused } => {
                let in_out = self.in_out() || self.is_conv1d(name);
                let usual = if in_out { IN_OUT } else { OUT_IN };
                let layout = layout::experts(name, shape, all, in_out).unwrap_or(usual);
                let thirds = match (shape.dims(), in_out) {
                    ([outputs, inputs], false) | ([inputs, outputs], true) => {
                        *inputs > 0 && *outputs == 3 * *inputs
                    }
                    _ => false,
                };
                Guess { layout, fused: fused && thirds, ..constant(Topic::Weight, &self.linear(name, shape)) }
            }
            TensorKind::Conv => {
                let told = match self.in_out() {
                    true => layout::heads(name, shape).or_else(|| layout::experts(name, shape, all, true)),
                    false => layout::experts(name, shape, all, false)
                        .or_else(|| layout::transposed(name, shape, all)),
                };
                Guess { layout: told.unwrap_or(usual), ..random(Topic::Weight, self.conv(name, shape)) }
            }
        }
    }

    fn biases_are_zero(&self, name: &str, all: &Tensors<'_>) -> bool {
        match self {
            Self::Torch | Self::ResNet => false,
            // The convolution that cuts the image into patches keeps PyTorch's default.
            Self::Timm => {
                let weight =
                    name.strip_suffix("bias").and_then(|module| all.get(format!("{module}weight").as_str()));
                weight.is_none_or(|weight| weight.rank() == 2)
            }
            _ => true,
        }
    }

    fn embedding(&self, name: &str) -> String {
        match self {
            Self::Gpt2 { .. } | Self::Transformer => NORMAL.to_owned(),
            Self::HfViT | Self::Timm => TRUNCATED.to_owned(),
            Self::Keras => "{mode: uniform, low: -0.05, high: 0.05}".to_owned(),
            Self::T5 { width: width @ 1.., .. } if name.contains("relative_attention_bias") => {
                format!("{{mode: normal, std: {}}}", 1.0 / (*width as f64).sqrt())
            }
            _ => "embedding".to_owned(),
        }
    }

    fn position(&self) -> String {
        let truncated = matches!(self, Self::HfViT | Self::Timm);
        if truncated { TRUNCATED.to_owned() } else { NORMAL.to_owned() }
    }

    fn token(&self) -> String {
        match self {
            Self::Timm => "{mode: normal, std: 1.0e-6}".to_owned(),
            _ => self.position(),
        }
    }

    fn linear(&self, name: &str, shape: &Shape) -> String {
        match self {
            // Two residual branches per block: Radford et al. 2019, section 2.3.
            Self::Gpt2 { blocks, .. } if name.ends_with("c_proj.weight") => {
                format!("{{mode: normal, std: 0.02, depth: {blocks}}}")
            }
            Self::Gpt2 { .. } | Self::Transformer => NORMAL.to_owned(),
            Self::HfViT | Self::Timm => TRUNCATED.to_owned(),
            Self::T5 { heads, .. } => t5(name, shape, *heads),
            Self::Vgg => "{mode: normal, std: 0.01}".to_owned(),
            Self::Flax | Self::Keras => self.kernel(name, shape),
            Self::ResNet | Self::Torch => "torch_default".to_owned(),
        }
    }

    fn conv(&self, name: &str, shape: &Shape) -> String {
        match self {
            Self::ResNet | Self::Vgg => "{mode: he, fan: out}".to_owned(),
            Self::Gpt2 { .. } | Self::Transformer | Self::T5 { .. } => NORMAL.to_owned(),
            Self::HfViT => TRUNCATED.to_owned(),
            Self::Flax | Self::Keras => self.kernel(name, shape),
            Self::Timm | Self::Torch => "torch_default".to_owned(),
        }
    }

    fn kernel(&self, name: &str, shape: &Shape) -> String {
        let last = |part: &str| segments(name).rev().nth(1).is_some_and(|(_, s)| s == part);
        if *self == Self::Keras {
            let recurrent = name.contains("recurrent_kernel") && shape.rank() == 2;
            return if recurrent { "orthogonal" } else { "glorot_uniform" }.to_owned();
        }
        match shape.dims() {
            // Attention's [width, heads, width of a head] is drawn as the matrix [width, rest].
            [width, _, _] if *width > 0 && ["query", "key", "value"].iter().any(|part| last(part)) => {
                format!("{{mode: attention, d_model: {width}, distribution: trunc_normal}}")
            }
            _ => "lecun_normal".to_owned(),
        }
    }

    /// Whether the weight is that of GPT-2's `Conv1D`, a linear layer with its outputs last.
    fn is_conv1d(&self, name: &str) -> bool {
        let own = ["c_attn.weight", "c_fc.weight", "c_proj.weight", "q_attn.weight"];
        matches!(self, Self::Gpt2 { conv1d: true, .. }) && own.iter().any(|end| name.ends_with(end))
    }
}

/// T5's standard deviations: 1 / sqrt(inputs), less for the queries, which its attention does not scale.
fn t5(name: &str, shape: &Shape, heads: usize) -> String {
    if name.ends_with("lm_head.weight") {
        return "{mode: normal, std: 1}".to_owned();
    }
    match shape.dims() {
        [inner, _] if name.ends_with("Attention.q.weight") && heads > 0 && *inner >= heads => {
            format!("{{mode: lecun, gain: {}}}", 1.0 / ((*inner / heads) as f64).sqrt())
        }
        _ => "lecun".to_owned(),
    }
}
