//! The role of each dimension of a tensor.

use core::fmt;

use serde::{Deserialize, Serialize};

use super::shape::Shape;

use crate::prelude::*;

/// The role of one dimension of a tensor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Stacked matrices or kernels, each a layer of its own.
    Expert,
    /// Outputs: neurons, filters.
    Out,
    /// Inputs, or input channels.
    In,
    /// Elements of a convolution kernel.
    Kernel,
}

impl Role {
    /// All roles with their names in configs.
    pub const WORDS: [(&'static str, Self); 4] =
        [("expert", Self::Expert), ("out", Self::Out), ("in", Self::In), ("kernel", Self::Kernel)];

    /// Name in configs.
    pub fn name(self) -> &'static str {
        Self::WORDS.iter().find(|(_, role)| *role == self).map_or("", |(word, _)| word)
    }
}

/// A role for each dimension, outermost first. Experts come before all others; dimensions with the
/// same role are adjacent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Roles {
    roles: [Role; Self::MOST],
    rank: usize,
}

/// Why a list of roles is invalid. The message completes a sentence that begins with "expected".
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RolesError {
    /// No role, or more than [`Roles::MOST`].
    #[error("1 to 8 roles, one for each dimension")]
    Rank,
    /// No dimension of outputs.
    #[error("`out` among the roles")]
    NoOut,
    /// A kernel without inputs.
    #[error("`in` among the roles, because there is `kernel`")]
    KernelAlone,
    /// Experts after another role.
    #[error("`expert` before all other roles")]
    ExpertInside,
    /// Dimensions with the same role that are not adjacent.
    #[error("dimensions with the same role side by side")]
    Apart,
}

/// A list of roles for a different number of dimensions than the tensor has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("its shape {shape} has {} dimensions, but its layout {layout} has {}", .shape.rank(), .layout.rank())]
pub struct LayoutMismatch {
    /// Shape of the tensor.
    pub shape: Shape,
    /// The roles.
    pub layout: Roles,
}

impl Roles {
    /// Maximum number of dimensions.
    pub const MOST: usize = 8;

    /// Checks a list of roles.
    ///
    /// # Errors
    /// [`RolesError`].
    pub fn new(list: &[Role]) -> Result<Self, RolesError> {
        if list.is_empty() || list.len() > Self::MOST {
            return Err(RolesError::Rank);
        }
        let has = |role| list.contains(&role);
        if !has(Role::Out) {
            return Err(RolesError::NoOut);
        }
        if has(Role::Kernel) && !has(Role::In) {
            return Err(RolesError::KernelAlone);
        }
        let inside = list.iter().skip_while(|role| **role == Role::Expert);
        if inside.into_iter().any(|role| *role == Role::Expert) {
            return Err(RolesError::ExpertInside);
        }
        let first = |role: &Role| list.iter().position(|other| other == role);
        let last = |role: &Role| list.iter().rposition(|other| other == role);
        let together = |role: &Role| match (first(role), last(role)) {
            (Some(first), Some(last)) => list[first..=last].iter().all(|other| other == role),
            _ => true,
        };
        if !list.iter().all(together) {
            return Err(RolesError::Apart);
        }
        let mut roles = [Role::Expert; Self::MOST];
        roles[..list.len()].copy_from_slice(list);
        Ok(Self { roles, rank: list.len() })
    }

    /// The roles, outermost dimension first.
    pub fn list(&self) -> &[Role] {
        &self.roles[..self.rank]
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.rank
    }

    /// Number of dimensions with the role expert.
    pub fn experts(&self) -> usize {
        self.list().iter().take_while(|role| **role == Role::Expert).count()
    }
}

impl fmt::Display for Roles {
    /// `[expert, out, in]`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.list().iter().map(|role| role.name()).collect();
        write!(f, "[{}]", names.join(", "))
    }
}

/// Which dimensions hold outputs and inputs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "Form", into = "Form")]
pub enum Layout {
    /// `[out, in, …]`: PyTorch.
    #[default]
    OutIn,
    /// `[…, in, out]`: Flax and Keras.
    InOut,
    /// A role for each dimension.
    Roles(Roles),
}

/// A layout in a file.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Form {
    Word(Word),
    Roles(Vec<Role>),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    OutIn,
    InOut,
}

impl TryFrom<Form> for Layout {
    type Error = String;

    fn try_from(form: Form) -> Result<Self, String> {
        match form {
            Form::Word(Word::OutIn) => Ok(Self::OutIn),
            Form::Word(Word::InOut) => Ok(Self::InOut),
            Form::Roles(list) => match Roles::new(&list) {
                Ok(roles) => Ok(Self::Roles(roles)),
                Err(error) => Err(format!("a layout with roles {list:?}, expected {error}")),
            },
        }
    }
}

impl From<Layout> for Form {
    fn from(layout: Layout) -> Self {
        match layout {
            Layout::OutIn => Self::Word(Word::OutIn),
            Layout::InOut => Self::Word(Word::InOut),
            Layout::Roles(roles) => Self::Roles(roles.list().to_vec()),
        }
    }
}

impl Layout {
    /// The layout of a tensor of this shape: the word for it, where roles say the same as one. Roles have
    /// nothing to say about a tensor of one dimension or none.
    ///
    /// # Errors
    /// [`LayoutMismatch`] where there is not a role for each dimension.
    pub fn for_shape(self, shape: &Shape) -> Result<Self, LayoutMismatch> {
        use Role::{In, Kernel, Out};
        let Self::Roles(roles) = self else { return Ok(self) };
        if shape.rank() < 2 {
            return Ok(Self::OutIn);
        }
        if shape.rank() != roles.rank() {
            return Err(LayoutMismatch { shape: shape.clone(), layout: roles });
        }
        Ok(match roles.list() {
            [Out, In, field @ ..] if field.iter().all(|role| *role == Kernel) => Self::OutIn,
            [field @ .., In, Out] if field.iter().all(|role| *role == Kernel) => Self::InOut,
            _ => self,
        })
    }

    /// Whether a convolution's kernels are stored one after the other, each in one piece.
    pub fn are_kernels_together(self) -> bool {
        match self {
            Self::OutIn => true,
            Self::InOut => false,
            Self::Roles(roles) => {
                !roles.list().contains(&Role::Kernel) || roles.list().last() == Some(&Role::Kernel)
            }
        }
    }

    /// The shape and the layout of one expert.
    pub(crate) fn of_one(self, shape: &Shape) -> Option<(Shape, Self)> {
        let Self::Roles(roles) = self else { return None };
        let experts = roles.experts();
        if experts == 0 || roles.rank() != shape.rank() {
            return None;
        }
        let one = Shape::new(shape.dims()[experts..].to_vec()).ok()?;
        let rest = Roles::new(&roles.list()[experts..]).ok()?;
        let layout = Self::Roles(rest).for_shape(&one).ok()?;
        Some((one, layout))
    }
}

impl fmt::Display for Layout {
    /// As a config spells it.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutIn => f.write_str("out_in"),
            Self::InOut => f.write_str("in_out"),
            Self::Roles(roles) => roles.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Role::{Expert, In, Kernel, Out};
    use super::*;

    #[test]
    fn lists_that_say_nothing_are_refused() {
        for (list, error) in [
            (&[][..], RolesError::Rank),
            (&[Expert; 9], RolesError::Rank),
            (&[Expert, In], RolesError::NoOut),
            (&[Kernel, Out], RolesError::KernelAlone),
            (&[Out, Expert, In], RolesError::ExpertInside),
            (&[In, Out, In], RolesError::Apart),
            (&[Kernel, In, Kernel, Out], RolesError::Apart),
        ] {
            assert_eq!(Roles::new(list), Err(error), "{list:?}");
        }
        for list in
            [&[Expert, Out][..], &[In, Out, Out], &[Expert, Expert, In, Out], &[Out, Kernel, Kernel, In]]
        {
            assert_eq!(Roles::new(list).unwrap().list(), list);
        }
    }

    #[test]
    fn a_list_that_says_what_a_word_says_is_the_word() {
        let of = |list: &[Role], dims: &[usize]| {
            Layout::Roles(Roles::new(list).unwrap()).for_shape(&Shape::new(dims.to_vec()).unwrap())
        };
        assert_eq!(of(&[Out, In], &[2, 3]), Ok(Layout::OutIn));
        assert_eq!(of(&[Out, In, Kernel], &[2, 3, 4]), Ok(Layout::OutIn));
        assert_eq!(of(&[Kernel, In, Out], &[2, 3, 4]), Ok(Layout::InOut));
        assert_eq!(of(&[Expert, Out, In], &[7]), Ok(Layout::OutIn));
        let experts = Layout::Roles(Roles::new(&[Expert, In, Out]).unwrap());
        assert_eq!(of(&[Expert, In, Out], &[2, 3, 4]), Ok(experts));
        assert_eq!(
            of(&[Expert, In, Out], &[2, 3]).unwrap_err().to_string(),
            "its shape [2, 3] has 2 dimensions, but its layout [expert, in, out] has 3"
        );
        let shape = Shape::new(vec![2, 3, 4]).unwrap();
        assert_eq!(experts.of_one(&shape), Some((Shape::new(vec![3, 4]).unwrap(), Layout::InOut)));
        assert_eq!(Layout::OutIn.of_one(&shape), None);
    }

    #[test]
    fn files_hold_a_word_or_a_list() {
        let experts = Layout::Roles(Roles::new(&[Expert, Out, In]).unwrap());
        for (layout, json) in [
            (Layout::OutIn, "\"out_in\""),
            (Layout::InOut, "\"in_out\""),
            (experts, "[\"expert\",\"out\",\"in\"]"),
        ] {
            assert_eq!(serde_json::to_string(&layout).unwrap(), json);
            assert_eq!(serde_json::from_str::<Layout>(json).unwrap(), layout);
        }
        assert!(serde_json::from_str::<Layout>("[\"in\"]").is_err());
        assert!(serde_json::from_str::<Layout>("\"out\"").is_err());
    }
}
