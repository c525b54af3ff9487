"""The fine-tunes that make.py makes, for programs that do without PyTorch, too."""

# name: (file it starts from, learning rate, weight decay, what is trained)
VARIANTS = {
    "full_f32_decay": ("base", 2e-5, 0.01, "all"),
    "full_f32": ("base", 2e-5, 0.0, "all"),
    "two_layers_f32": ("base", 2e-5, 0.0, "layers"),
    "lora_f32": ("base", 2e-4, 0.0, "lora"),
    "lora_bf16": ("base_bf16", 2e-4, 0.0, "lora"),
    "full_bf16": ("base_bf16", 2e-5, 0.0, "all"),
    "full_bf16_slow": ("base_bf16", 5e-6, 0.0, "all"),
    "biases_f32": ("base", 1e-3, 0.0, "biases"),
}
