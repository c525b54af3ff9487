//! A tensor as experts with outputs, inputs and kernel elements, in any storage order.

use super::layout::{Layout, Role};
use super::shape::Shape;

/// The number of experts, outputs, inputs and kernel elements of a tensor, and how they are stored.
///
/// A tensor with at most one dimension, and each expert of stacked ones, is a single output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Axes {
    /// Stacked matrices or kernels; 1 for most tensors.
    pub experts: usize,
    /// Outputs per expert.
    pub outputs: usize,
    /// Inputs per expert; for a convolution, input channels.
    pub inputs: usize,
    /// Elements per kernel; 1 for a matrix.
    pub kernel: usize,
    /// Index of the middle element of a kernel. For kernels of even size, the one before the middle
    /// and the one after it.
    pub middle: [usize; 2],
    /// Whether the tensor is a vector, or stacked vectors, which have no separate outputs and inputs.
    pub is_vector: bool,
    /// The order in which the dimensions of one expert are stored, outermost first.
    order: [Role; 3],
}

impl Axes {
    /// The axes of a tensor. Roles for a different number of dimensions are ignored: see
    /// [`Layout::for_shape`].
    pub fn new(shape: &Shape, layout: Layout) -> Self {
        let dims = shape.dims();
        let usual = |outputs: usize, inputs: usize, field: &[usize], order| Self {
            experts: 1,
            outputs,
            inputs,
            kernel: field.iter().product(),
            middle: middles(field.iter().copied()),
            is_vector: false,
            order,
        };
        match (dims, layout) {
            ([] | [_], _) => Self::vectors(1, shape.elements()),
            ([field @ .., inputs, outputs], Layout::InOut) => {
                usual(*outputs, *inputs, field, [Role::Kernel, Role::In, Role::Out])
            }
            (_, Layout::Roles(roles)) if roles.rank() == dims.len() => {
                let size = |role| -> usize {
                    roles.list().iter().zip(dims).filter(|(r, _)| **r == role).map(|(_, size)| size).product()
                };
                if !roles.list().contains(&Role::In) {
                    return Self::vectors(size(Role::Expert), size(Role::Out));
                }
                let field = roles.list().iter().zip(dims).filter(|(r, _)| **r == Role::Kernel);
                Self {
                    experts: size(Role::Expert),
                    outputs: size(Role::Out),
                    inputs: size(Role::In),
                    kernel: size(Role::Kernel),
                    middle: middles(field.map(|(_, size)| *size)),
                    is_vector: false,
                    order: order(roles.list()),
                }
            }
            ([outputs, inputs, field @ ..], _) => {
                usual(*outputs, *inputs, field, [Role::Out, Role::In, Role::Kernel])
            }
        }
    }

    fn vectors(experts: usize, elements: usize) -> Self {
        Self {
            experts,
            outputs: 1,
            inputs: elements,
            kernel: 1,
            middle: [0; 2],
            is_vector: true,
            order: [Role::Out, Role::In, Role::Kernel],
        }
    }

    /// Size along a role.
    pub fn size(&self, role: Role) -> usize {
        match role {
            Role::Expert => self.experts,
            Role::Out => self.outputs,
            Role::In => self.inputs,
            Role::Kernel => self.kernel,
        }
    }

    /// Distance in stored elements between neighbours along a role.
    pub fn stride(&self, role: Role) -> usize {
        let after = match self.order.iter().position(|other| *other == role) {
            Some(at) => &self.order[at + 1..],
            None => &self.order[..],
        };
        after.iter().map(|role| self.size(*role)).product()
    }

    /// The roles as stored, outermost first, with their sizes.
    pub fn stored(&self) -> [(Role, usize); 4] {
        let [a, b, c] = self.order;
        [Role::Expert, a, b, c].map(|role| (role, self.size(role)))
    }

    /// Elements per expert.
    pub fn elements_of_one(&self) -> usize {
        self.outputs * self.inputs * self.kernel
    }

    /// Whether the rows of the matrix view (the first dimension by the rest) are the outputs, and its columns
    /// the inputs times the kernel elements.
    pub fn are_rows_outputs(&self) -> bool {
        self.experts == 1 && self.order == [Role::Out, Role::In, Role::Kernel]
    }

    /// Index along each role (expert, output, input, kernel element) of an element in storage order.
    pub fn split(&self, place: usize) -> [usize; 4] {
        let mut numbers = [0; 4];
        let mut rest = place;
        for role in self.order.iter().rev() {
            let size = self.size(*role).max(1);
            numbers[*role as usize] = rest % size;
            rest /= size;
        }
        numbers[Role::Expert as usize] = rest;
        numbers
    }

    /// Index of an element among those of its output within its expert, in storage order.
    pub fn column(&self, numbers: [usize; 4]) -> usize {
        let [_, _, input, kernel] = numbers;
        match self.stride(Role::In) >= self.stride(Role::Kernel) {
            true => input * self.kernel + kernel,
            false => kernel * self.inputs + input,
        }
    }

    /// `(fan_in, fan_out)` of one expert: the number of inputs that feed one output, and of outputs that one
    /// input feeds. For a vector, both are its length.
    pub fn fans(&self) -> (usize, usize) {
        if self.is_vector {
            return (self.inputs, self.inputs);
        }
        (self.inputs * self.kernel, self.outputs * self.kernel)
    }

    /// The fan-in as PyTorch computes it: the second dimension of a convolution times its kernel elements.
    /// For a transposed convolution, that dimension is the outputs.
    pub fn torch_fan_in(&self) -> usize {
        let (fan_in, fan_out) = self.fans();
        if self.order == [Role::In, Role::Out, Role::Kernel] { fan_out } else { fan_in }
    }

    /// Whether the elements of each kernel are stored together.
    pub fn are_kernels_together(&self) -> bool {
        self.order[2] == Role::Kernel
    }
}

/// Index of the middle element of a kernel. For even sizes, of the one before the middle
/// and the one after it.
fn middles(field: impl Iterator<Item = usize>) -> [usize; 2] {
    field.fold([0; 2], |[before, behind], size| {
        [before * size + size.saturating_sub(1) / 2, behind * size + size / 2]
    })
}

/// The order of the roles within one expert. A role without a dimension is placed as in PyTorch's
/// order, or as in Flax's.
fn order(list: &[Role]) -> [Role; 3] {
    let at = |role| list.iter().position(|other| *other == role);
    let (out, inp) = (at(Role::Out), at(Role::In));
    let [(first, a), (second, b)] =
        if inp < out { [(inp, Role::In), (out, Role::Out)] } else { [(out, Role::Out), (inp, Role::In)] };
    match at(Role::Kernel) {
        None if a == Role::Out => [a, b, Role::Kernel],
        None => [Role::Kernel, a, b],
        kernel if kernel < first => [Role::Kernel, a, b],
        kernel if kernel < second => [a, Role::Kernel, b],
        _ => [a, b, Role::Kernel],
    }
}

impl Shape {
    /// `(fan_in, fan_out)`: the number of inputs that feed one output, and of outputs that one input feeds.
    ///
    /// For [`Layout::OutIn`], `[out, in, …]`, `fan_in = in · receptive` and `fan_out = out · receptive`,
    /// where the receptive field is the product of the trailing dimensions. For [`Layout::InOut`],
    /// `[…, in, out]`, it is the product of the leading ones. For [`Layout::Roles`], these are the fans of
    /// one expert. For a vector, both are its length; for a scalar, 1.
    pub fn fans(&self, layout: Layout) -> (usize, usize) {
        Axes::new(self, layout).fans()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Roles;
    use super::Role::{Expert, In, Kernel, Out};
    use super::*;
    use crate::prelude::*;

    fn axes(list: &[Role], dims: &[usize]) -> Axes {
        let roles = Layout::Roles(Roles::new(list).unwrap());
        Axes::new(&Shape::new(dims.to_vec()).unwrap(), roles)
    }

    /// Every place, against the index that plain loops over the dimensions give.
    #[test]
    fn places_are_split_as_they_are_stored() {
        for (list, dims) in [
            (&[Expert, Out, In][..], &[2, 3, 4][..]),
            (&[Expert, In, Out], &[2, 3, 4]),
            (&[In, Out, Kernel, Kernel], &[4, 3, 2, 3]),
            (&[Kernel, Kernel, In, Out], &[2, 3, 4, 3]),
            (&[Out, Kernel, Kernel, In], &[3, 2, 3, 4]),
            (&[Expert, Expert, In, In, Out], &[2, 1, 2, 2, 3]),
        ] {
            let axes = axes(list, dims);
            for place in 0..dims.iter().product() {
                let (mut numbers, mut rest, mut index) = ([0; 4], place, vec![0; dims.len()]);
                for (n, size) in dims.iter().enumerate().rev() {
                    index[n] = rest % size;
                    rest /= size;
                }
                for ((role, size), n) in list.iter().zip(dims).zip(index) {
                    numbers[*role as usize] = numbers[*role as usize] * size + n;
                }
                assert_eq!(axes.split(place), numbers, "{list:?} {place}");
                let strides: usize =
                    Role::WORDS.iter().map(|(_, role)| axes.stride(*role) * numbers[*role as usize]).sum();
                assert_eq!(strides, place);
            }
        }
    }

    #[test]
    fn fans_are_those_of_one_expert() {
        assert_eq!(axes(&[Expert, Out, In], &[8, 64, 256]).fans(), (256, 64));
        assert_eq!(axes(&[Expert, In, Out], &[8, 256, 64]).fans(), (256, 64));
        assert_eq!(axes(&[Expert, Out], &[8, 64]).fans(), (64, 64));
        assert_eq!(axes(&[In, Out, Kernel, Kernel], &[32, 64, 3, 3]).fans(), (288, 576));
        // Size 1 of [in, out, k, k], as torch.nn.init counts it.
        assert_eq!(axes(&[In, Out, Kernel, Kernel], &[32, 64, 3, 3]).torch_fan_in(), 576);
        assert_eq!(axes(&[In, Out, Out], &[768, 12, 64]).fans(), (768, 768));
        assert_eq!(axes(&[In, In, Out], &[12, 64, 768]).fans(), (768, 768));
        assert_eq!(axes(&[Out, Kernel, Kernel, In], &[64, 3, 3, 32]).fans(), (288, 576));
    }

    #[test]
    fn fans_of_both_layouts() {
        let shape = |dims: &[usize]| Shape::new(dims.to_vec()).unwrap();
        assert_eq!(shape(&[64, 32, 3, 3]).fans(Layout::OutIn), (288, 576));
        assert_eq!(shape(&[3, 3, 32, 64]).fans(Layout::InOut), (288, 576));
        assert_eq!(shape(&[256, 784]).fans(Layout::OutIn), (784, 256));
        assert_eq!(shape(&[784, 256]).fans(Layout::InOut), (784, 256));
        assert_eq!(shape(&[10]).fans(Layout::OutIn), (10, 10));
        assert_eq!(shape(&[]).fans(Layout::InOut), (1, 1));
    }
}
