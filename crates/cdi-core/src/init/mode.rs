//! The initialisation modes and their canonical names.

/// A mode of initialisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    He,
    Xavier,
    Lecun,
    Attention,
    VarianceScaling,
    TorchDefault,
    Normal,
    TruncNormal,
    Uniform,
    Sparse,
    Constant,
    Zeros,
    Ones,
    Eye,
    Dirac,
    Orthogonal,
    DeltaOrthogonal,
}

impl Mode {
    pub const ALL: [Self; 17] = [
        Self::He,
        Self::Xavier,
        Self::Lecun,
        Self::Attention,
        Self::VarianceScaling,
        Self::TorchDefault,
        Self::Normal,
        Self::TruncNormal,
        Self::Uniform,
        Self::Sparse,
        Self::Constant,
        Self::Zeros,
        Self::Ones,
        Self::Eye,
        Self::Dirac,
        Self::Orthogonal,
        Self::DeltaOrthogonal,
    ];

    /// Its canonical name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::He => "he",
            Self::Xavier => "xavier",
            Self::Lecun => "lecun",
            Self::Attention => "attention",
            Self::VarianceScaling => "variance_scaling",
            Self::TorchDefault => "torch_default",
            Self::Normal => "normal",
            Self::TruncNormal => "trunc_normal",
            Self::Uniform => "uniform",
            Self::Sparse => "sparse",
            Self::Constant => "constant",
            Self::Zeros => "zeros",
            Self::Ones => "ones",
            Self::Eye => "eye",
            Self::Dirac => "dirac",
            Self::Orthogonal => "orthogonal",
            Self::DeltaOrthogonal => "delta_orthogonal",
        }
    }

    /// The mode with this canonical name.
    pub fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|mode| mode.name() == name)
    }
}

/// The canonical mode names.
pub const MODE_NAMES: [&str; 17] = {
    let mut names = [""; 17];
    let mut n = 0;
    while n < names.len() {
        names[n] = Mode::ALL[n].name();
        n += 1;
    }
    names
};
