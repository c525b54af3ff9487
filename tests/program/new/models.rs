//! Models by the names of their tensors, and how their own code starts them.

use super::{model, zoo};

// Hugging Face.

#[test]
fn gpt2() {
    let p = model(&zoo::gpt2());
    assert_eq!(p.rules(), 9, "{}", p.config);
    p.is("wte.weight", "normal(std=0.02)");
    p.is("h.7.attn.c_attn.weight", "normal(std=0.02)");
    // Radford et al.: divided by the square root of twice the number of blocks.
    p.is("h.7.attn.c_proj.weight", "normal(std=0.02, depth=12)");
    p.is("h.11.mlp.c_proj.weight", "normal(std=0.02, depth=12)");
    for (name, init) in [("h.7.ln_2.weight", "ones"), ("ln_f.weight", "ones"), ("h.7.ln_2.bias", "zeros")] {
        p.is(name, init);
    }
    p.is("h.7.attn.c_attn.bias", "zeros");
    // The causal masks.
    p.is("h.7.attn.bias", "none");
    p.is("h.7.attn.masked_bias", "none");
    p.says(&[
        "  - match: \"h.*.attn.c_attn.weight\"",
        "    layer: {base: 10, step: 10, by: 1}",
        "    init: {mode: normal, std: 0.02}",
        "    layout: in_out",
        "  - match: \"h.*.attn.c_proj.weight\"",
        // Three ids are left for the thirds of the projection before it.
        "    layer: {base: 13, step: 10, by: 1}",
    ]);
    p.layer("h.11.attn.c_attn.weight", 120);
    assert_eq!(p.rows["h.7.attn.c_attn.bias"].2, "kept");
    assert_eq!(p.rows["h.7.attn.c_attn.weight"].2, "pruned");
    assert_eq!(p.rows["h.7.ln_1.weight"].2, "kept");
    let lines = p.config.lines().count();
    assert!(lines <= 80, "{lines} lines");
}

#[test]
fn nanogpt_has_its_outputs_first() {
    let p = model(&zoo::nanogpt());
    assert!(!p.config.contains("in_out"), "{}", p.config);
    p.is("transformer.h.1.mlp.c_proj.weight", "normal(std=0.02, depth=2)");
    p.is("lm_head.weight", "normal(std=0.02)");
}

/// Only where the outputs are three times the inputs: not with grouped queries, nor in a
/// layout that is another.
#[test]
fn slices_are_offered_where_thirds_make_sense() {
    for (shape, offered) in
        [([24, 8], true), ([8, 24], false), ([16, 8], false), ([24, 24], false), ([0, 0], false)]
    {
        let p = model(&[("a.qkv.weight".to_owned(), shape.to_vec())]);
        assert_eq!(p.config.contains("    # slices: [q, k, v]  "), offered, "{}", p.config);
    }
}

#[test]
fn bert() {
    let p = model(&zoo::bert());
    assert_eq!(p.rules(), 4, "{}", p.config);
    p.is("bert.embeddings.word_embeddings.weight", "normal(std=0.02)");
    p.is("bert.encoder.layer.1.attention.self.query.weight", "normal(std=0.02)");
    p.is("bert.encoder.layer.1.attention.self.query.bias", "zeros");
    p.is("bert.encoder.layer.1.attention.output.LayerNorm.weight", "ones");
    p.is("cls.predictions.bias", "zeros");
}

#[test]
fn llama() {
    let p = model(&zoo::llama());
    p.is("model.layers.3.self_attn.k_proj.weight", "normal(std=0.02)");
    p.is("model.layers.3.input_layernorm.weight", "ones");
    p.is("model.norm.weight", "ones");
    p.is("model.layers.3.self_attn.rotary_emb.inv_freq", "none");
    // Alphabetical within a block: down, gate, up, k, o, q, v.
    p.layer("model.layers.0.mlp.down_proj.weight", 10);
    p.layer("model.layers.11.self_attn.v_proj.weight", 126);
    p.layer("model.embed_tokens.weight", 0);
    p.layer("lm_head.weight", 1);
}

/// Experts have two numbers, so their ids are hashes of their names.
#[test]
fn mixtral() {
    let p = model(&zoo::mixtral());
    p.is("model.layers.1.block_sparse_moe.experts.3.w2.weight", "normal(std=0.02)");
    p.says(&[
        "  - match: \"model.layers.*.block_sparse_moe.experts.*.w2.weight\"",
        "    init: {mode: normal, std: 0.02}",
    ]);
    p.layer("model.layers.1.self_attn.v_proj.weight", 24);
    // printf 'model.layers.1.block_sparse_moe.experts.3.w2.weight' | sha256sum, its first
    // eight bytes reversed.
    p.layer("model.layers.1.block_sparse_moe.experts.3.w2.weight", 0x0e4b_4268_5b72_3984);
}

/// Width 8, four heads of 2: 1/sqrt(8) for what is neither query nor feed-forward output, times
/// 1/sqrt(2) for queries.
#[test]
fn t5() {
    let p = model(&zoo::t5());
    p.is("shared.weight", "normal(std=1)");
    p.is("encoder.block.1.layer.0.SelfAttention.q.weight", "lecun(gain=0.7071067811865475)");
    p.is("decoder.block.1.layer.1.EncDecAttention.q.weight", "lecun(gain=0.7071067811865475)");
    p.is("encoder.block.1.layer.0.SelfAttention.k.weight", "lecun");
    p.is("decoder.block.0.layer.2.DenseReluDense.wi_1.weight", "lecun");
    p.is(
        "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        "normal(std=0.35355339059327373)",
    );
    p.is("decoder.block.0.layer.2.layer_norm.weight", "ones");
    p.is("lm_head.weight", "normal(std=1)");
}

#[test]
fn hugging_face_vit() {
    let p = model(&zoo::hf_vit());
    let truncated = "trunc_normal(std=0.02, low=-2, high=2)";
    p.is("vit.embeddings.cls_token", truncated);
    p.is("vit.embeddings.position_embeddings", truncated);
    p.is("vit.embeddings.patch_embeddings.projection.weight", truncated);
    p.is("vit.encoder.layer.1.attention.attention.key.weight", truncated);
    p.is("vit.encoder.layer.1.layernorm_before.weight", "ones");
    p.is("classifier.bias", "zeros");
}

#[test]
fn whisper() {
    let p = model(&zoo::whisper());
    p.is("model.encoder.conv1.weight", "normal(std=0.02)");
    p.is("model.encoder.embed_positions.weight", "none");
    p.is("model.decoder.embed_positions.weight", "normal(std=0.02)");
    p.is("model.decoder.layers.1.encoder_attn.out_proj.bias", "zeros");
    p.is("model.decoder.layers.1.encoder_attn_layer_norm.weight", "ones");
}

// PyTorch, torchvision and timm.

#[test]
fn resnet18() {
    let p = model(&zoo::resnet18());
    assert_eq!(p.rules(), 6, "{}", p.config);
    for name in
        ["conv1.weight", "layer1.0.conv1.weight", "layer4.1.conv2.weight", "layer2.0.downsample.0.weight"]
    {
        p.is(name, "he(fan=out)");
    }
    p.is("layer2.0.downsample.1.weight", "ones");
    p.is("layer2.0.downsample.1.bias", "zeros");
    p.is("layer3.1.bn2.running_var", "none");
    p.is("fc.weight", "torch_default");
    p.is("fc.bias", "torch_default(fan_in=32)");
    assert_eq!(p.rows["bn1.num_batches_tracked"], (None, None, "passed_through".to_owned()));
    assert_eq!(p.rows["bn1.running_mean"].2, "kept");
}

#[test]
fn mobilenet_v2() {
    let p = model(&zoo::mobilenet_v2());
    for name in [
        "features.0.0.weight",
        "features.1.conv.0.0.weight",
        "features.1.conv.1.weight",
        "features.9.conv.1.0.weight",
        "features.9.conv.2.weight",
        "features.18.0.weight",
    ] {
        p.is(name, "he(fan=out)");
    }
    for name in [
        "features.0.1.weight",
        "features.1.conv.0.1.weight",
        "features.1.conv.2.weight",
        "features.9.conv.1.1.weight",
        "features.9.conv.3.weight",
        "features.18.1.weight",
    ] {
        p.is(name, "ones");
    }
    p.is("classifier.1.weight", "normal(std=0.01)");
    p.is("classifier.1.bias", "zeros");
}

#[test]
fn vgg() {
    let p = model(&zoo::vgg11(false));
    p.is("features.0.weight", "he(fan=out)");
    p.is("features.0.bias", "zeros");
    p.is("classifier.6.weight", "normal(std=0.01)");
    p.layer("features.18.weight", 28);
    p.layer("classifier.6.weight", 6);
    // With batch normalisation, convolutions and norms of one form take turns.
    let p = model(&zoo::vgg11(true));
    p.is("features.4.weight", "he(fan=out)");
    p.is("features.5.weight", "ones");
    p.is("features.5.running_mean", "none");
    p.says(&["  - match: \"features.{1,5,9,12,16,19,23,26}.weight\"", "    init: ones"]);
    p.layer("features.25.weight", 35);
}

#[test]
fn timm_vit() {
    let p = model(&zoo::timm_vit());
    let truncated = "trunc_normal(std=0.02, low=-2, high=2)";
    p.is("cls_token", "normal(std=0.000001)");
    p.is("pos_embed", truncated);
    p.is("blocks.11.attn.qkv.weight", truncated);
    p.is("blocks.11.mlp.fc2.bias", "zeros");
    p.is("blocks.11.norm2.weight", "ones");
    p.is("head.weight", truncated);
    // A convolution, which timm's initialisation leaves alone: 3 channels of 2 by 2.
    p.is("patch_embed.proj.weight", "torch_default");
    p.is("patch_embed.proj.bias", "torch_default(fan_in=12)");
    assert!(p.config.contains("    # slices: [q, k, v]  "), "{}", p.config);
}

#[test]
fn torch_transformer_encoder() {
    let p = model(&zoo::torch_encoder());
    p.is("embedding.weight", "normal(std=1)");
    p.is("encoder.layers.1.self_attn.in_proj_weight", "xavier(distribution=uniform)");
    p.is("encoder.layers.1.self_attn.in_proj_bias", "zeros");
    p.is("encoder.layers.1.self_attn.out_proj.weight", "torch_default");
    p.is("encoder.layers.1.self_attn.out_proj.bias", "zeros");
    p.is("encoder.layers.1.linear2.weight", "torch_default");
    p.is("encoder.layers.1.linear2.bias", "torch_default(fan_in=32)");
    p.is("encoder.layers.1.norm2.weight", "ones");
    p.is("encoder.layers.1.norm2.bias", "zeros");
    p.is("out.bias", "torch_default(fan_in=8)");
    p.is("pos.pe", "none");
}

#[test]
fn recurrent_layers() {
    let p = model(&zoo::recurrent());
    for name in ["weight_ih_l0", "weight_hh_l1_reverse", "bias_ih_l1", "bias_hh_l0_reverse"] {
        p.is(&format!("lstm.{name}"), "torch_default(fan_in=6)");
    }
    p.is("cell.weight_ih", "torch_default(fan_in=4)");
    p.is("cell.bias_hh", "torch_default(fan_in=4)");
    p.is("fc.bias", "torch_default(fan_in=4)");
    assert_eq!(p.rows["lstm.bias_ih_l1"].2, "kept");
    assert_eq!(p.rows["lstm.weight_ih_l1"].2, "pruned");
}

#[test]
fn diffusers_unet_takes_four_rules() {
    let p = model(&zoo::unet());
    assert_eq!(p.rules(), 4, "{}", p.config);
    p.is("down_blocks.1.resnets.0.norm2.weight", "ones");
    p.is("down_blocks.1.resnets.0.norm2.bias", "zeros");
    p.is("down_blocks.1.resnets.0.time_emb_proj.weight", "torch_default");
    p.is("up_blocks.0.attentions.2.transformer_blocks.0.attn2.to_k.weight", "torch_default");
    // 16 input channels, kernels of 3 by 3.
    p.is("up_blocks.0.resnets.0.conv1.bias", "torch_default(fan_in=144)");
    p.is("conv_norm_out.weight", "ones");
}

#[test]
fn lora_adapter() {
    let p = model(&zoo::lora());
    let layer = "base_model.model.model.layers.2.self_attn";
    p.is(
        &format!("{layer}.q_proj.lora_A.weight"),
        "he(distribution=uniform, nonlinearity=leaky_relu, a=2.23606797749979)",
    );
    p.is(&format!("{layer}.v_proj.lora_B.weight"), "zeros");
    p.layer(&format!("{layer}.q_proj.lora_A.weight"), 20);
    p.layer(&format!("{layer}.v_proj.lora_A.weight"), 21);
    assert_eq!(p.rows[&format!("{layer}.v_proj.lora_B.weight")].2, "pruned");
}

// Flax and Keras.

#[test]
fn flax() {
    for separator in ["/", "."] {
        let p = model(&zoo::flax(separator));
        let name = |path: &str| path.replace(' ', separator);
        let lecun = "lecun(distribution=trunc_normal)";
        p.is(&name("params Conv_1 kernel"), lecun);
        p.is(&name("params Dense_1 kernel"), lecun);
        p.is(&name("params attention out kernel"), lecun);
        // Drawn as a matrix of 8 rows, which its own three dimensions do not tell.
        p.is(&name("params attention query kernel"), "attention(distribution=trunc_normal, d_model=8)");
        // Variance 1 / features.
        p.is(&name("params Embed_0 embedding"), "lecun");
        p.is(&name("params Dense_1 bias"), "zeros");
        p.is(&name("params BatchNorm_0 scale"), "ones");
        p.is(&name("batch_stats BatchNorm_0 var"), "none");
        p.says(&["  layout: in_out"]);
        p.says(&["    layer: 0", "    init: lecun", "    layout: out_in"]);
        p.layer(&name("params Dense_1 kernel"), 21);
    }
}

#[test]
fn keras() {
    let p = model(&zoo::keras());
    p.is("conv2d/kernel:0", "xavier(distribution=uniform)");
    p.is("lstm/lstm_cell/recurrent_kernel:0", "orthogonal");
    p.is("embedding/embeddings:0", "uniform(low=-0.05, high=0.05)");
    p.is("batch_normalization/gamma:0", "ones");
    p.is("batch_normalization/beta:0", "zeros");
    p.is("batch_normalization/moving_variance:0", "none");
    p.says(&["  layout: in_out"]);
}

/// Which way the experts lie is told by the projections beside each other; a transposed
/// convolution by its bias.
#[test]
fn layouts_by_role() {
    let tensor = |name: &str, shape: &[usize]| (name.to_owned(), shape.to_vec());
    for (gate_up, down, layout) in
        [([4, 12, 8], [4, 8, 6], "[expert, out, in]"), ([4, 8, 12], [4, 6, 8], "[expert, in, out]")]
    {
        let p = model(&[
            tensor("model.embed_tokens.weight", &[20, 8]),
            tensor("model.layers.0.mlp.experts.gate_up_proj", &gate_up),
            tensor("model.layers.0.mlp.experts.down_proj", &down),
            tensor("model.layers.1.mlp.experts.gate_up_proj", &gate_up),
            tensor("model.layers.1.mlp.experts.down_proj", &down),
        ]);
        assert_eq!(p.config.matches(&format!("    layout: {layout}\n")).count(), 2, "{}", p.config);
    }
    let p = model(&[
        tensor("down.weight", &[8, 4, 3, 3]),
        tensor("down.bias", &[8]),
        tensor("up.weight", &[8, 4, 2, 2]),
        tensor("up.bias", &[4]),
    ]);
    p.says(&[
        "  - match: up.weight",
        "    layer: 1",
        "    init: torch_default",
        "    layout: [in, out, kernel, kernel]",
    ]);
    assert_eq!(p.config.matches("layout:").count(), 1, "{}", p.config);
}
