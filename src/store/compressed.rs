//! Detects weights that a checkpoint stores in a compressed form, by the names and types of their parts. A
//! scale or an absolute maximum is a floating-point tensor like any other, but it is not a weight.
//!
//! The names are those that the formats' own loaders ask for: `qweight`, `qzeros`, `scales` and `g_idx` of
//! GPTQ and AWQ (the latter without `g_idx`), `absmax` and `quant_state.bitsandbytes__nf4` of bitsandbytes,
//! `weight_packed` and `weight_scale` of compressed-tensors, and so on. One name alone proves nothing; each
//! form requires several, with types.

use std::collections::BTreeSet;

use safetensors::Dtype;

use crate::checkpoint::Checkpoint;

/// A form in which this or another program stores weights.
#[derive(Debug, PartialEq, Eq)]
pub struct Form {
    /// The name of the form.
    pub name: &'static str,
    /// How to obtain ordinary weights.
    pub way_out: &'static str,
    /// Ending of the name of the part to look for first, and the types it may have.
    first: (&'static str, &'static [Dtype]),
    /// For each entry, a part with one of the endings and one of the types must exist.
    with: &'static [(&'static [&'static str], &'static [Dtype])],
    /// Endings of optional parts.
    more: &'static [&'static str],
}

use Dtype::{BF16, F8_E4M3, F8_E5M2, F16, F32, F64, I8, I16, I32, I64, U8, U16, U32};

const FLOATS: &[Dtype] = &[F64, F32, F16, BF16];
const SCALES: &[Dtype] = &[F32, F16, BF16, F8_E4M3, U8];
const DEQUANTIZE: &str = "use the checkpoint from before quantisation, or dequantise this one first";

/// In bitsandbytes' names, this is followed by the kind of the 4-bit numbers.
const BITSANDBYTES: &str = ".quant_state.bitsandbytes__";

const FORMS: [Form; 12] = [
    Form {
        name: "GPTQ or AWQ",
        way_out: DEQUANTIZE,
        first: (".qweight", &[I32]),
        with: &[(&[".scales"], FLOATS), (&[".qzeros", ".g_idx"], &[I32])],
        more: &[".qzeros", ".g_idx"],
    },
    Form {
        name: "EXL2",
        way_out: DEQUANTIZE,
        first: (".q_weight", &[I32]),
        with: &[(&[".q_scale"], &[I32]), (&[".q_scale_max"], FLOATS)],
        more: &[".q_groups", ".q_invperm", ".q_perm"],
    },
    Form {
        name: "bitsandbytes (4 bits)",
        way_out: DEQUANTIZE,
        first: (BITSANDBYTES, &[U8]),
        with: &[(&[".absmax"], &[F32, U8]), (&[""], &[U8, I8, F32, F16, BF16])],
        more: &[".quant_map", ".nested_absmax", ".nested_quant_map"],
    },
    Form {
        name: "bitsandbytes (8 bits)",
        way_out: DEQUANTIZE,
        first: (".SCB", &[F32]),
        with: &[(&[".weight"], &[I8])],
        more: &[".weight_format"],
    },
    Form {
        name: "compressed-tensors (packed integers)",
        way_out: DEQUANTIZE,
        first: (".weight_packed", &[I32, U8]),
        with: &[(&[".weight_scale", ".scale_packed"], SCALES)],
        more: &[
            ".weight_shape",
            ".weight_zero_point",
            ".weight_g_idx",
            ".weight_global_scale",
            ".input_global_scale",
            ".input_scale",
            ".meta",
        ],
    },
    Form {
        name: "numbers of 8 bits or less with scales",
        way_out: DEQUANTIZE,
        first: (".weight", &[I8, U8, F8_E4M3, F8_E5M2]),
        with: &[(&[".weight_scale", ".weight_scale_inv"], SCALES)],
        more: &[".weight_scale_2", ".weight_zero_point", ".input_scale", ".k_scale", ".v_scale"],
    },
    Form {
        name: "quanto",
        way_out: DEQUANTIZE,
        first: (".weight._data", &[I8, U8, F8_E4M3, F8_E5M2]),
        with: &[(&[".weight._scale"], FLOATS)],
        more: &[".weight._shift", ".input_scale", ".output_scale"],
    },
    Form {
        name: "HQQ",
        way_out: DEQUANTIZE,
        first: (".W_q", &[U8, I32]),
        with: &[(&[".scale"], FLOATS), (&[".zero"], FLOATS)],
        more: &[],
    },
    Form {
        name: "MLX",
        way_out: DEQUANTIZE,
        first: (".weight", &[U32]),
        with: &[(&[".scales"], SCALES)],
        more: &[".biases"],
    },
    Form {
        name: "blocks with scales, as of MXFP4",
        way_out: DEQUANTIZE,
        first: ("_blocks", &[U8]),
        with: &[(&["_scales"], SCALES)],
        more: &[],
    },
    Form {
        name: "a bitmask",
        way_out: "decompress it with compressed-tensors, or, if `cdi-prune` wrote it, `restore` the original \
                  file: this copy has lost its `__metadata__`",
        first: (".bitmask", &[U8]),
        with: &[
            (&[".compressed"], &[F64, F32, F16, BF16, F8_E4M3, I8]),
            (&[".shape", ".row_offsets"], &[I64]),
        ],
        more: &[".shape", ".row_offsets", ".fillmask"],
    },
    Form {
        name: "compressed rows (CSR)",
        way_out: "if `cdi-prune` wrote it, `restore` the original file: this copy has lost its \
                  `__metadata__`",
        first: (".crow_indices", &[I32, I64]),
        with: &[(&[".col_indices"], &[U16, I16, I32, I64]), (&[".values"], FLOATS)],
        more: &[".shape", ".fillmask"],
    },
];

/// A weight that a checkpoint stores in several parts.
#[derive(Debug, PartialEq, Eq)]
pub struct Compressed {
    /// The common beginning of the parts' names.
    pub stem: String,
    /// The names of the parts found, in order.
    pub parts: BTreeSet<String>,
    /// Their form.
    pub form: &'static Form,
}

/// The weights that are stored in parts, in name order.
pub fn compressed(checkpoint: &Checkpoint) -> Vec<Compressed> {
    checkpoint
        .tensors()
        .flat_map(|(name, tensor)| {
            FORMS.iter().filter_map(move |form| form.find(checkpoint, name, tensor.dtype))
        })
        .collect()
}

impl Form {
    /// The parts, if this is the name and type of a first part and the required others exist.
    fn find(&'static self, checkpoint: &Checkpoint, name: &str, dtype: Dtype) -> Option<Compressed> {
        let stem = match self.first.0 {
            BITSANDBYTES => name.split_once(BITSANDBYTES)?.0,
            ending => name.strip_suffix(ending)?,
        };
        if stem.is_empty() || !self.first.1.contains(&dtype) {
            return None;
        }
        let is = |ending: &str, types: &[Dtype]| {
            checkpoint.tensor(&format!("{stem}{ending}")).is_some_and(|tensor| types.contains(&tensor.dtype))
        };
        if !self.with.iter().all(|(endings, types)| endings.iter().any(|ending| is(ending, types))) {
            return None;
        }
        let endings = self.with.iter().flat_map(|(endings, _)| endings.iter()).chain(self.more);
        let others = endings.map(|ending| format!("{stem}{ending}"));
        let parts =
            others.filter(|part| checkpoint.tensor(part).is_some()).chain([name.to_owned()]).collect();
        Some(Compressed { stem: stem.to_owned(), parts, form: self })
    }
}
