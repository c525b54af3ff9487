//! The tensor names of well-known models, at toy sizes: width 8, vocabulary 20, two blocks
//! unless said otherwise.

/// Name and shape of a tensor.
pub type Form = (String, Vec<usize>);

const D: usize = 8;
const V: usize = 20;

/// Builds a list of tensors.
#[derive(Default)]
pub struct Zoo(pub Vec<Form>);

impl Zoo {
    fn add(&mut self, name: impl Into<String>, shape: &[usize]) {
        self.0.push((name.into(), shape.to_vec()));
    }

    /// `X.weight` and `X.bias`.
    fn layer(&mut self, module: &str, shape: &[usize]) {
        self.add(format!("{module}.weight"), shape);
        self.add(format!("{module}.bias"), &shape[..1]);
    }

    /// LayerNorm or GroupNorm.
    fn norm(&mut self, module: &str) {
        self.layer(module, &[D]);
    }

    fn batch_norm(&mut self, module: &str, channels: usize) {
        self.layer(module, &[channels]);
        self.add(format!("{module}.running_mean"), &[channels]);
        self.add(format!("{module}.running_var"), &[channels]);
        self.add(format!("{module}.num_batches_tracked"), &[]);
    }
}

/// Hugging Face's GPT-2 with its masks, twelve blocks.
pub fn gpt2() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("wte.weight", &[V, D]);
    z.add("wpe.weight", &[16, D]);
    for n in 0..12 {
        let h = format!("h.{n}");
        z.norm(&format!("{h}.ln_1"));
        z.add(format!("{h}.attn.bias"), &[1, 1, 16, 16]);
        z.add(format!("{h}.attn.masked_bias"), &[]);
        for (module, inputs, outputs) in [
            ("attn.c_attn", D, 3 * D),
            ("attn.c_proj", D, D),
            ("mlp.c_fc", D, 4 * D),
            ("mlp.c_proj", 4 * D, D),
        ] {
            z.add(format!("{h}.{module}.weight"), &[inputs, outputs]);
            z.add(format!("{h}.{module}.bias"), &[outputs]);
        }
        z.norm(&format!("{h}.ln_2"));
    }
    z.norm("ln_f");
    z.0
}

/// nanoGPT's names: the same with linear layers the usual way round, and no biases.
pub fn nanogpt() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("transformer.wte.weight", &[V, D]);
    z.add("transformer.wpe.weight", &[16, D]);
    for n in 0..2 {
        let h = format!("transformer.h.{n}");
        z.add(format!("{h}.ln_1.weight"), &[D]);
        z.add(format!("{h}.attn.c_attn.weight"), &[3 * D, D]);
        z.add(format!("{h}.attn.c_proj.weight"), &[D, D]);
        z.add(format!("{h}.ln_2.weight"), &[D]);
        z.add(format!("{h}.mlp.c_fc.weight"), &[4 * D, D]);
        z.add(format!("{h}.mlp.c_proj.weight"), &[D, 4 * D]);
    }
    z.add("transformer.ln_f.weight", &[D]);
    z.add("lm_head.weight", &[V, D]);
    z.0
}

pub fn bert() -> Vec<Form> {
    let mut z = Zoo::default();
    for (table, rows) in [("word", V), ("position", 16), ("token_type", 2)] {
        z.add(format!("bert.embeddings.{table}_embeddings.weight"), &[rows, D]);
    }
    z.norm("bert.embeddings.LayerNorm");
    for n in 0..2 {
        let l = format!("bert.encoder.layer.{n}");
        for part in ["query", "key", "value"] {
            z.layer(&format!("{l}.attention.self.{part}"), &[D, D]);
        }
        z.layer(&format!("{l}.attention.output.dense"), &[D, D]);
        z.norm(&format!("{l}.attention.output.LayerNorm"));
        z.layer(&format!("{l}.intermediate.dense"), &[4 * D, D]);
        z.layer(&format!("{l}.output.dense"), &[D, 4 * D]);
        z.norm(&format!("{l}.output.LayerNorm"));
    }
    z.layer("bert.pooler.dense", &[D, D]);
    z.add("cls.predictions.bias", &[V]);
    z.layer("cls.predictions.transform.dense", &[D, D]);
    z.norm("cls.predictions.transform.LayerNorm");
    z.layer("cls.predictions.decoder", &[V, D]);
    z.layer("cls.seq_relationship", &[2, D]);
    z.0
}

/// Llama with grouped-query attention, and the frequencies that older files have.
pub fn llama() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("model.embed_tokens.weight", &[V, D]);
    for n in 0..12 {
        let l = format!("model.layers.{n}");
        attention(&mut z, &format!("{l}.self_attn"), D, D / 4);
        z.add(format!("{l}.self_attn.rotary_emb.inv_freq"), &[2]);
        z.add(format!("{l}.mlp.gate_proj.weight"), &[3 * D, D]);
        z.add(format!("{l}.mlp.up_proj.weight"), &[3 * D, D]);
        z.add(format!("{l}.mlp.down_proj.weight"), &[D, 3 * D]);
        z.add(format!("{l}.input_layernorm.weight"), &[D]);
        z.add(format!("{l}.post_attention_layernorm.weight"), &[D]);
    }
    z.add("model.norm.weight", &[D]);
    z.add("lm_head.weight", &[V, D]);
    z.0
}

fn attention(z: &mut Zoo, module: &str, queries: usize, keys: usize) {
    z.add(format!("{module}.q_proj.weight"), &[queries, D]);
    z.add(format!("{module}.k_proj.weight"), &[keys, D]);
    z.add(format!("{module}.v_proj.weight"), &[keys, D]);
    z.add(format!("{module}.o_proj.weight"), &[D, queries]);
}

pub fn mixtral() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("model.embed_tokens.weight", &[V, D]);
    for n in 0..2 {
        let l = format!("model.layers.{n}");
        attention(&mut z, &format!("{l}.self_attn"), D, D / 2);
        z.add(format!("{l}.block_sparse_moe.gate.weight"), &[4, D]);
        for e in 0..4 {
            z.add(format!("{l}.block_sparse_moe.experts.{e}.w1.weight"), &[2 * D, D]);
            z.add(format!("{l}.block_sparse_moe.experts.{e}.w2.weight"), &[D, 2 * D]);
            z.add(format!("{l}.block_sparse_moe.experts.{e}.w3.weight"), &[2 * D, D]);
        }
        z.add(format!("{l}.input_layernorm.weight"), &[D]);
        z.add(format!("{l}.post_attention_layernorm.weight"), &[D]);
    }
    z.add("model.norm.weight", &[D]);
    z.add("lm_head.weight", &[V, D]);
    z.0
}

/// Four heads of two, gated.
pub fn t5() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("shared.weight", &[V, D]);
    for (stack, more) in [("encoder", 0), ("decoder", 1)] {
        z.add(format!("{stack}.embed_tokens.weight"), &[V, D]);
        for n in 0..2 {
            let b = format!("{stack}.block.{n}");
            for layer in 0..=more {
                let name = if layer == 0 { "SelfAttention" } else { "EncDecAttention" };
                for part in ["q", "k", "v", "o"] {
                    z.add(format!("{b}.layer.{layer}.{name}.{part}.weight"), &[D, D]);
                }
                z.add(format!("{b}.layer.{layer}.layer_norm.weight"), &[D]);
            }
            let last = 1 + more;
            z.add(format!("{b}.layer.{last}.DenseReluDense.wi_0.weight"), &[4 * D, D]);
            z.add(format!("{b}.layer.{last}.DenseReluDense.wi_1.weight"), &[4 * D, D]);
            z.add(format!("{b}.layer.{last}.DenseReluDense.wo.weight"), &[D, 4 * D]);
            z.add(format!("{b}.layer.{last}.layer_norm.weight"), &[D]);
        }
        z.add(format!("{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"), &[32, 4]);
        z.add(format!("{stack}.final_layer_norm.weight"), &[D]);
    }
    z.add("lm_head.weight", &[V, D]);
    z.0
}

/// Hugging Face's ViT.
pub fn hf_vit() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("vit.embeddings.cls_token", &[1, 1, D]);
    z.add("vit.embeddings.position_embeddings", &[1, 5, D]);
    z.layer("vit.embeddings.patch_embeddings.projection", &[D, 3, 2, 2]);
    for n in 0..2 {
        let l = format!("vit.encoder.layer.{n}");
        for part in ["query", "key", "value"] {
            z.layer(&format!("{l}.attention.attention.{part}"), &[D, D]);
        }
        z.layer(&format!("{l}.attention.output.dense"), &[D, D]);
        z.layer(&format!("{l}.intermediate.dense"), &[4 * D, D]);
        z.layer(&format!("{l}.output.dense"), &[D, 4 * D]);
        z.norm(&format!("{l}.layernorm_before"));
        z.norm(&format!("{l}.layernorm_after"));
    }
    z.norm("vit.layernorm");
    z.layer("classifier", &[10, D]);
    z.0
}

pub fn whisper() -> Vec<Form> {
    let mut z = Zoo::default();
    z.layer("model.encoder.conv1", &[D, 5, 3]);
    z.layer("model.encoder.conv2", &[D, D, 3]);
    z.add("model.encoder.embed_positions.weight", &[12, D]);
    z.add("model.decoder.embed_tokens.weight", &[V, D]);
    z.add("model.decoder.embed_positions.weight", &[16, D]);
    for (stack, attentions) in [("encoder", &["self_attn"][..]), ("decoder", &["self_attn", "encoder_attn"])]
    {
        for n in 0..2 {
            let l = format!("model.{stack}.layers.{n}");
            for attention in attentions {
                z.add(format!("{l}.{attention}.k_proj.weight"), &[D, D]);
                for part in ["v_proj", "q_proj", "out_proj"] {
                    z.layer(&format!("{l}.{attention}.{part}"), &[D, D]);
                }
                z.norm(&format!("{l}.{attention}_layer_norm"));
            }
            z.layer(&format!("{l}.fc1"), &[4 * D, D]);
            z.layer(&format!("{l}.fc2"), &[D, 4 * D]);
            z.norm(&format!("{l}.final_layer_norm"));
        }
        z.norm(&format!("model.{stack}.layer_norm"));
    }
    z.add("proj_out.weight", &[V, D]);
    z.0
}

pub fn resnet18() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("conv1.weight", &[4, 3, 7, 7]);
    z.batch_norm("bn1", 4);
    for layer in 1..=4 {
        let (before, width) = (4 << (layer - 1usize).saturating_sub(1), 4 << (layer - 1));
        for block in 0..2 {
            let b = format!("layer{layer}.{block}");
            let inputs = if block == 0 { before } else { width };
            z.add(format!("{b}.conv1.weight"), &[width, inputs, 3, 3]);
            z.batch_norm(&format!("{b}.bn1"), width);
            z.add(format!("{b}.conv2.weight"), &[width, width, 3, 3]);
            z.batch_norm(&format!("{b}.bn2"), width);
        }
        if layer > 1 {
            z.add(format!("layer{layer}.0.downsample.0.weight"), &[width, before, 1, 1]);
            z.batch_norm(&format!("layer{layer}.0.downsample.1"), width);
        }
    }
    z.layer("fc", &[10, 32]);
    z.0
}

/// MobileNetV2, whose first block has a layer less than the others.
pub fn mobilenet_v2() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("features.0.0.weight", &[4, 3, 3, 3]);
    z.batch_norm("features.0.1", 4);
    z.add("features.1.conv.0.0.weight", &[4, 1, 3, 3]);
    z.batch_norm("features.1.conv.0.1", 4);
    z.add("features.1.conv.1.weight", &[4, 4, 1, 1]);
    z.batch_norm("features.1.conv.2", 4);
    for n in 2..=17 {
        z.add(format!("features.{n}.conv.0.0.weight"), &[8, 4, 1, 1]);
        z.batch_norm(&format!("features.{n}.conv.0.1"), 8);
        z.add(format!("features.{n}.conv.1.0.weight"), &[8, 1, 3, 3]);
        z.batch_norm(&format!("features.{n}.conv.1.1"), 8);
        z.add(format!("features.{n}.conv.2.weight"), &[4, 8, 1, 1]);
        z.batch_norm(&format!("features.{n}.conv.3"), 4);
    }
    z.add("features.18.0.weight", &[8, 4, 1, 1]);
    z.batch_norm("features.18.1", 8);
    z.layer("classifier.1", &[10, 8]);
    z.0
}

/// VGG-11, plain or with batch normalisation.
pub fn vgg11(with_norms: bool) -> Vec<Form> {
    let mut z = Zoo::default();
    let (mut at, mut inputs) = (0, 3);
    for (n, outputs) in [4, 8, 8, 8, 8, 8, 8, 8].into_iter().enumerate() {
        z.layer(&format!("features.{at}"), &[outputs, inputs, 3, 3]);
        if with_norms {
            z.batch_norm(&format!("features.{}", at + 1), outputs);
        }
        // ReLU, and a pooling after the first, second, fourth, sixth and eighth.
        at += if with_norms { 3 } else { 2 } + usize::from([0, 1, 3, 5, 7].contains(&n));
        inputs = outputs;
    }
    for (n, outputs) in [(0, 16), (3, 16), (6, 10)] {
        z.layer(&format!("classifier.{n}"), &[outputs, if n == 0 { 8 } else { 16 }]);
    }
    z.0
}

pub fn timm_vit() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("cls_token", &[1, 1, D]);
    z.add("pos_embed", &[1, 5, D]);
    z.layer("patch_embed.proj", &[D, 3, 2, 2]);
    for n in 0..12 {
        let b = format!("blocks.{n}");
        z.norm(&format!("{b}.norm1"));
        z.layer(&format!("{b}.attn.qkv"), &[3 * D, D]);
        z.layer(&format!("{b}.attn.proj"), &[D, D]);
        z.norm(&format!("{b}.norm2"));
        z.layer(&format!("{b}.mlp.fc1"), &[4 * D, D]);
        z.layer(&format!("{b}.mlp.fc2"), &[D, 4 * D]);
    }
    z.norm("norm");
    z.layer("head", &[10, D]);
    z.0
}

/// `nn.TransformerEncoder` after an embedding.
pub fn torch_encoder() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("embedding.weight", &[V, D]);
    z.add("pos.pe", &[1, 16, D]);
    for n in 0..2 {
        let l = format!("encoder.layers.{n}");
        z.add(format!("{l}.self_attn.in_proj_weight"), &[3 * D, D]);
        z.add(format!("{l}.self_attn.in_proj_bias"), &[3 * D]);
        z.layer(&format!("{l}.self_attn.out_proj"), &[D, D]);
        z.layer(&format!("{l}.linear1"), &[4 * D, D]);
        z.layer(&format!("{l}.linear2"), &[D, 4 * D]);
        z.norm(&format!("{l}.norm1"));
        z.norm(&format!("{l}.norm2"));
    }
    z.layer("out", &[V, D]);
    z.0
}

/// A bidirectional LSTM of two layers, hidden size 6, and a GRU cell.
pub fn recurrent() -> Vec<Form> {
    let mut z = Zoo::default();
    z.add("embedding.weight", &[V, D]);
    for layer in 0..2 {
        for way in ["", "_reverse"] {
            z.add(format!("lstm.weight_ih_l{layer}{way}"), &[24, if layer == 0 { D } else { 12 }]);
            z.add(format!("lstm.weight_hh_l{layer}{way}"), &[24, 6]);
            z.add(format!("lstm.bias_ih_l{layer}{way}"), &[24]);
            z.add(format!("lstm.bias_hh_l{layer}{way}"), &[24]);
        }
    }
    for (leaf, shape) in
        [("weight_ih", &[12, 12][..]), ("weight_hh", &[12, 4]), ("bias_ih", &[12]), ("bias_hh", &[12])]
    {
        z.add(format!("cell.{leaf}"), shape);
    }
    z.layer("fc", &[V, 4]);
    z.0
}

/// Flax's names for a small convolutional network with attention, joined by this separator.
pub fn flax(separator: &str) -> Vec<Form> {
    let mut z = Zoo::default();
    for (path, shape) in [
        ("params Conv_0 kernel", &[3, 3, 1, 4][..]),
        ("params Conv_0 bias", &[4]),
        ("params Conv_1 kernel", &[3, 3, 4, 8]),
        ("params Conv_1 bias", &[8]),
        ("params BatchNorm_0 scale", &[8]),
        ("params BatchNorm_0 bias", &[8]),
        ("batch_stats BatchNorm_0 mean", &[8]),
        ("batch_stats BatchNorm_0 var", &[8]),
        ("params Embed_0 embedding", &[V, 8]),
        ("params LayerNorm_0 scale", &[8]),
        ("params LayerNorm_0 bias", &[8]),
        ("params attention query kernel", &[8, 2, 4]),
        ("params attention query bias", &[2, 4]),
        ("params attention out kernel", &[2, 4, 8]),
        ("params attention out bias", &[8]),
        ("params Dense_0 kernel", &[8, 16]),
        ("params Dense_0 bias", &[16]),
        ("params Dense_1 kernel", &[16, 10]),
        ("params Dense_1 bias", &[10]),
    ] {
        z.add(path.replace(' ', separator), shape);
    }
    z.0
}

pub fn keras() -> Vec<Form> {
    let mut z = Zoo::default();
    for (name, shape) in [
        ("conv2d/kernel:0", &[3, 3, 3, 4][..]),
        ("conv2d/bias:0", &[4]),
        ("batch_normalization/gamma:0", &[4]),
        ("batch_normalization/beta:0", &[4]),
        ("batch_normalization/moving_mean:0", &[4]),
        ("batch_normalization/moving_variance:0", &[4]),
        ("embedding/embeddings:0", &[V, 8]),
        ("lstm/lstm_cell/kernel:0", &[8, 24]),
        ("lstm/lstm_cell/recurrent_kernel:0", &[6, 24]),
        ("lstm/lstm_cell/bias:0", &[24]),
        ("dense/kernel:0", &[6, 10]),
        ("dense/bias:0", &[10]),
    ] {
        z.add(name, shape);
    }
    z.0
}

/// PEFT's adapter of a Llama: rank 2, queries and values.
pub fn lora() -> Vec<Form> {
    let mut z = Zoo::default();
    for n in 0..3 {
        for part in ["q_proj", "v_proj"] {
            let m = format!("base_model.model.model.layers.{n}.self_attn.{part}");
            z.add(format!("{m}.lora_A.weight"), &[2, D]);
            z.add(format!("{m}.lora_B.weight"), &[D, 2]);
        }
    }
    z.0
}

/// Diffusers' UNet with two resolutions.
pub fn unet() -> Vec<Form> {
    let mut z = Zoo::default();
    z.layer("conv_in", &[D, 4, 3, 3]);
    z.layer("time_embedding.linear_1", &[4 * D, D]);
    z.layer("time_embedding.linear_2", &[4 * D, 4 * D]);
    fn resnet(z: &mut Zoo, module: &str, inputs: usize) {
        z.layer(&format!("{module}.norm1"), &[inputs]);
        z.layer(&format!("{module}.conv1"), &[D, inputs, 3, 3]);
        z.layer(&format!("{module}.time_emb_proj"), &[D, 4 * D]);
        z.norm(&format!("{module}.norm2"));
        z.layer(&format!("{module}.conv2"), &[D, D, 3, 3]);
        if inputs != D {
            z.layer(&format!("{module}.conv_shortcut"), &[D, inputs, 1, 1]);
        }
    }
    fn transformer(z: &mut Zoo, module: &str) {
        z.norm(&format!("{module}.norm"));
        z.layer(&format!("{module}.proj_in"), &[D, D, 1, 1]);
        let b = format!("{module}.transformer_blocks.0");
        for (attention, context) in [("attn1", D), ("attn2", 12)] {
            z.add(format!("{b}.{attention}.to_q.weight"), &[D, D]);
            z.add(format!("{b}.{attention}.to_k.weight"), &[D, context]);
            z.add(format!("{b}.{attention}.to_v.weight"), &[D, context]);
            z.layer(&format!("{b}.{attention}.to_out.0"), &[D, D]);
        }
        z.layer(&format!("{b}.ff.net.0.proj"), &[8 * D, D]);
        z.layer(&format!("{b}.ff.net.2"), &[D, 4 * D]);
        (1..=3).for_each(|n| z.norm(&format!("{b}.norm{n}")));
        z.layer(&format!("{module}.proj_out"), &[D, D, 1, 1]);
    }
    for n in 0..2 {
        for r in 0..2 {
            resnet(&mut z, &format!("down_blocks.{n}.resnets.{r}"), D);
            transformer(&mut z, &format!("down_blocks.{n}.attentions.{r}"));
        }
        for r in 0..3 {
            resnet(&mut z, &format!("up_blocks.{n}.resnets.{r}"), 2 * D);
            transformer(&mut z, &format!("up_blocks.{n}.attentions.{r}"));
        }
    }
    z.layer("down_blocks.0.downsamplers.0.conv", &[D, D, 3, 3]);
    z.layer("up_blocks.0.upsamplers.0.conv", &[D, D, 3, 3]);
    resnet(&mut z, "mid_block.resnets.0", D);
    transformer(&mut z, "mid_block.attentions.0");
    z.norm("conv_norm_out");
    z.layer("conv_out", &[4, D, 3, 3]);
    z.0
}
