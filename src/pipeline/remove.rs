//! Removal of units from chains of layers. The masks determine the units; the smaller tensors are written
//! from the trained ones.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::blocks::{self, Reads};
use super::error::{ChainProblem, Error, RuleProblem};
use super::masks::Masks;
use super::origin::Action;
use super::outcome::PrunedResult;
use super::progress::Progress;
use super::resolve::Resolved;
use crate::checkpoint::Mapped;
use crate::config::{Chain, KeyPath, PruneSettings};
use crate::prune::{Joint, Units};
use crate::report::Removed;
use crate::store::CheckpointWriter;
use crate::tensor::{FloatDtype, Layout, Matrix, Shape, cast};

/// The tensors that become smaller, by their index in name order.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Removal {
    smaller: BTreeMap<usize, Smaller>,
    /// For the report.
    pub removed: Vec<Removed>,
}

/// The remaining part of a tensor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Smaller {
    /// Rows that stay; for a vector, elements.
    rows: Vec<usize>,
    /// Columns that stay; for a vector, its only column.
    columns: Vec<usize>,
    /// Constants added to the elements of a vector, before any are removed.
    add: Vec<f64>,
    /// Dimensions of the remaining shape.
    dims: Vec<usize>,
    /// Number of weights that stay and are not pruned.
    pub stored: u64,
}

/// A layer of a chain.
struct Layer {
    name: String,
    /// Index of its weight.
    weight: usize,
    shape: Shape,
    bias: Option<usize>,
    /// Indexes of all tensors of the batch norms after it.
    norms: Vec<usize>,
}

/// The tensors, with their masks and indexes.
struct View<'v> {
    resolved: &'v Resolved<'v>,
    names: Vec<&'v str>,
    masks: Option<&'v Masks>,
}

impl<'v> View<'v> {
    fn new(resolved: &'v Resolved<'_>, masks: Option<&'v Masks>) -> Result<Self, Error> {
        let (_, tensors) = resolved.trained()?;
        Ok(Self { resolved, names: tensors.keys().map(String::as_str).collect(), masks })
    }

    fn place(&self, name: &str) -> Option<usize> {
        self.names.binary_search(&name).ok()
    }

    fn shape(&self, place: usize) -> Result<&'v Shape, Error> {
        let (_, tensors) = self.resolved.trained()?;
        Ok(&tensors[self.names[place]].shape)
    }

    /// Finds the layers of a chain.
    fn layers(&self, chain: &Chain, key: &KeyPath) -> Result<Vec<Layer>, Error> {
        let (_, tensors) = self.resolved.trained()?;
        let mut layers: Vec<Layer> = Vec::new();
        for (n, name) in chain.layers.iter().enumerate() {
            let wrong = |problem| {
                let problem = RuleProblem::Chain { layer: name.clone(), problem };
                self.resolved.wrong(&key.key("layers").index(n), problem)
            };
            let weight_name = format!("{name}.weight");
            let Some(weight) = self.place(&weight_name) else {
                return Err(wrong(ChainProblem::NoWeight(weight_name)));
            };
            let tensor = &tensors[&weight_name];
            if FloatDtype::of(tensor.dtype).is_none() {
                return Err(wrong(ChainProblem::Dtype(tensor.dtype)));
            }
            let units = layers.last().map(|layer| layer.shape.dims()[0]);
            if tensor.shape.rank() == 1 {
                let parts: Vec<usize> = ["weight", "bias", "running_mean", "running_var"]
                    .into_iter()
                    .filter_map(|part| self.place(&format!("{name}.{part}")))
                    .collect();
                let fits = |place: &usize| {
                    self.shape(*place).is_ok_and(|shape| Some(shape.elements()) == units && shape.rank() == 1)
                };
                let Some(layer) = layers.last_mut().filter(|_| parts.len() == 4 && parts.iter().all(fits))
                else {
                    return Err(wrong(ChainProblem::NoNorm(tensor.shape.clone())));
                };
                layer.norms.extend(parts);
                continue;
            }
            let layout = tensor.layout();
            if tensor.shape.rank() < 2 || layout != Layout::OutIn {
                return Err(wrong(ChainProblem::Layout(tensor.shape.clone(), layout)));
            }
            let columns = tensor.shape.matrix().cols;
            if let Some(units) = units.filter(|units| *units == 0 || !columns.is_multiple_of(*units)) {
                return Err(wrong(ChainProblem::Units { columns, units }));
            }
            let bias = self.place(&format!("{name}.bias"));
            let outputs = tensor.shape.dims()[0];
            if let Some(bias) = bias {
                let shape = self.shape(bias)?;
                let float = FloatDtype::of(tensors[self.names[bias]].dtype).is_some();
                if shape.dims() != [outputs] || !float {
                    return Err(wrong(ChainProblem::Bias { units: outputs, got: shape.clone() }));
                }
            }
            let shape = tensor.shape.clone();
            layers.push(Layer { name: name.clone(), weight, shape, bias, norms: Vec::new() });
        }
        Ok(layers)
    }

    fn float(&self, place: usize) -> Result<(FloatDtype, Mapped<'v>), Error> {
        let (checkpoint, tensors) = self.resolved.trained()?;
        let name = self.names[place];
        let dtype = FloatDtype::of(tensors[name].dtype).expect("checked with the chain");
        Ok((dtype, checkpoint.tensor(name).expect("one of its own names").data))
    }

    /// The bits of the weights of a row that stay; `None` if all do.
    fn row_mask(&self, place: usize, matrix: Matrix, row: usize, mask: &mut Vec<u8>) -> Result<bool, Error> {
        let (_, tensors) = self.resolved.trained()?;
        let Some(masks) = self.masks.filter(|_| tensors[self.names[place]].action == Action::Prune) else {
            return Ok(false);
        };
        masks.read_row(place, matrix, row, mask)?;
        Ok(true)
    }

    /// Calls `each` with the index and the bits of every row, if the tensor is pruned.
    fn rows(&self, place: usize, mut each: impl FnMut(usize, &[u8])) -> Result<bool, Error> {
        let matrix = self.shape(place)?.matrix();
        let mut mask = Vec::new();
        for row in 0..matrix.rows {
            if !self.row_mask(place, matrix, row, &mut mask)? {
                return Ok(false);
            }
            each(row, &mask);
        }
        Ok(true)
    }

    /// The values of a vector; pruned ones are 0.
    fn vector(&self, place: usize) -> Result<Vec<f64>, Error> {
        let (dtype, data) = self.float(place)?;
        let mut values = vec![0.0; data.len() / dtype.size()];
        dtype.decode(data.bytes(), &mut values);
        self.rows(place, |_, mask| zero_pruned(&mut values, mask))?;
        Ok(values)
    }

    /// The units between two layers that are removed.
    fn units(&self, layer: &Layer, next: &Layer, chain: &Chain) -> Result<Units, Error> {
        let units = layer.shape.dims()[0];
        let group = next.shape.matrix().cols / units.max(1);
        let mut silent = vec![false; units];
        self.rows(layer.weight, |row, mask| silent[row] = mask.iter().all(|byte| *byte == 0))?;
        let mut awake = vec![0u8; next.shape.matrix().mask_row_bytes()];
        let known = self.rows(next.weight, |_, mask| {
            awake.iter_mut().zip(mask).for_each(|(all, row)| *all |= row);
        })?;
        let unread: Vec<bool> = (0..units)
            .map(|unit| known && (unit * group..(unit + 1) * group).all(|column| !bit(&awake, column)))
            .collect();
        let bias = layer.bias.map(|bias| self.vector(bias)).transpose()?.unwrap_or_else(|| vec![0.0; units]);
        let flat = layer.shape.rank() == 2 && next.shape.rank() == 2 && group == 1;
        let activation = chain.activation.filter(|_| layer.norms.is_empty());
        let foldable = flat && next.bias.is_some();
        Ok(Joint { silent: &silent, unread: &unread, bias: &bias, activation, foldable }.units())
    }

    /// The contribution of the constants of removed units to each output of the next layer: the sums of their
    /// products with its weights, in order.
    fn fold(&self, next: &Layer, units: &Units) -> Result<Vec<f64>, Error> {
        let matrix = next.shape.matrix();
        let (dtype, data) = self.float(next.weight)?;
        let mut mask = Vec::new();
        let mut value = [0.0];
        let mut sums = vec![0.0; matrix.rows];
        for (row, sum) in sums.iter_mut().enumerate() {
            let masked = self.row_mask(next.weight, matrix, row, &mut mask)?;
            for (unit, constant) in &units.folded {
                if !masked || bit(&mask, *unit) {
                    let at = (row * matrix.cols + unit) * dtype.size();
                    dtype.decode(data.part(at..at + dtype.size()).bytes(), &mut value);
                    *sum += constant * value[0];
                }
            }
        }
        Ok(sums)
    }
}

fn bit(mask: &[u8], place: usize) -> bool {
    mask[place / 8] >> (place % 8) & 1 == 1
}

fn zero_pruned(values: &mut [f64], mask: &[u8]) {
    for (n, value) in values.iter_mut().enumerate() {
        if !bit(mask, n) {
            *value = 0.0;
        }
    }
}

/// Refuses chains that the tensors do not form.
pub(super) fn check_chains(resolved: &Resolved<'_>, prune: &PruneSettings) -> Result<(), Error> {
    let view = View::new(resolved, None)?;
    for (n, chain) in prune.chains.iter().enumerate() {
        let key = KeyPath::root().key("prune").key("chains").index(n);
        let layers = view.layers(chain, &key)?;
        if layers.len() < 2 {
            let layer = chain.layers[0].clone();
            let problem = RuleProblem::Chain { layer, problem: ChainProblem::Alone };
            return Err(resolved.wrong(&key.key("layers"), problem));
        }
    }
    Ok(())
}

impl Removal {
    /// Determines the units that can be removed with these masks, if `owns` names the tensors of the chains,
    /// which are all one process's.
    pub fn find(
        resolved: &Resolved<'_>,
        owns: impl Fn(&str) -> bool,
        prune: &PruneSettings,
        masks: &Masks,
    ) -> Result<Self, Error> {
        let view = View::new(resolved, Some(masks))?;
        let mut removal = Self::default();
        let first = prune.chains.first().and_then(|chain| chain.layers.first());
        if !first.is_some_and(|layer| owns(&format!("{layer}.weight"))) {
            return Ok(removal);
        }
        for (n, chain) in prune.chains.iter().enumerate() {
            let key = KeyPath::root().key("prune").key("chains").index(n);
            let layers = view.layers(chain, &key)?;
            for pair in layers.windows(2) {
                removal.joint(&view, &pair[0], &pair[1], chain)?;
            }
        }
        for (place, smaller) in &mut removal.smaller {
            smaller.finish(&view, *place)?;
        }
        Ok(removal)
    }

    fn joint(&mut self, view: &View<'_>, layer: &Layer, next: &Layer, chain: &Chain) -> Result<(), Error> {
        let units = view.units(layer, next, chain)?;
        let all = layer.shape.dims()[0];
        self.removed.push(Removed {
            layer: layer.name.clone(),
            next: next.name.clone(),
            units: all as u64,
            removed: (all - units.kept.len()) as u64,
            folded: units.folded.len() as u64,
        });
        if units.kept.len() == all {
            return Ok(());
        }
        for place in layer.bias.iter().chain(&layer.norms) {
            self.of_place(view, *place)?.rows.clone_from(&units.kept);
        }
        self.of_place(view, layer.weight)?.rows.clone_from(&units.kept);
        let group = next.shape.matrix().cols / all;
        let columns = units.kept.iter().flat_map(|unit| unit * group..(unit + 1) * group).collect();
        self.of_place(view, next.weight)?.columns = columns;
        if let Some(bias) = next.bias.filter(|_| !units.folded.is_empty()) {
            let add = view.fold(next, &units)?;
            self.of_place(view, bias)?.add = add;
        }
        Ok(())
    }

    fn of_place(&mut self, view: &View<'_>, place: usize) -> Result<&mut Smaller, Error> {
        let shape = view.shape(place)?;
        let vector = shape.rank() == 1;
        let Matrix { rows, cols } = shape.matrix();
        let (rows, cols) = if vector { (cols, rows) } else { (rows, cols) };
        Ok(self.smaller.entry(place).or_insert_with(|| Smaller {
            rows: (0..rows).collect(),
            columns: (0..cols).collect(),
            add: Vec::new(),
            dims: shape.dims().to_vec(),
            stored: 0,
        }))
    }

    /// The remaining part of a tensor that becomes smaller, or of a bias to which constants are added.
    pub fn of(&self, place: usize) -> Option<&Smaller> {
        self.smaller.get(&place)
    }

    /// Takes in what another process has found.
    pub fn add(&mut self, other: Self) {
        self.smaller.extend(other.smaller);
        self.removed.extend(other.removed);
    }

    /// Writes those of the tensors in [`Self::of`] that `owns` names, in type `written` if one is given, and
    /// records in `results` how many values are beyond its range.
    pub fn write(
        &self,
        resolved: &Resolved<'_>,
        owns: impl Fn(&str) -> bool,
        (masks, written): (&Masks, Option<FloatDtype>),
        results: &mut [PrunedResult],
        (writer, progress): (&CheckpointWriter<'_>, &dyn Progress),
    ) -> Result<(), Error> {
        let view = View::new(resolved, Some(masks))?;
        for (place, smaller) in self.smaller.iter().filter(|(place, _)| owns(view.names[**place])) {
            let (dtype, data) = view.float(*place)?;
            let slot = writer.slot(view.names[*place]);
            let result = &mut results[*place];
            let written = written.unwrap_or(dtype);
            let encode = |values: &[f64]| {
                let mut own = vec![0; values.len() * dtype.size()];
                dtype.encode(values, &mut own);
                let mut out = Vec::with_capacity(values.len() * written.size());
                let overflowed = cast(&own, dtype, written, &mut out);
                (out, overflowed)
            };
            if smaller.dims.len() == 1 {
                let mut values = view.vector(*place)?;
                values.iter_mut().zip(&smaller.add).for_each(|(value, add)| *value += add);
                let kept: Vec<f64> = smaller.rows.iter().map(|row| values[*row]).collect();
                let (out, overflowed) = encode(&kept);
                writer.write_at(slot, 0, &out)?;
                result.overflowed = overflowed;
                continue;
            }
            let matrix = view.shape(*place)?.matrix();
            let width = matrix.cols * dtype.size();
            let rows: Vec<(usize, usize)> = smaller.rows.iter().copied().enumerate().collect();
            let overflowed = blocks::for_each(
                &rows,
                progress,
                |(_, row)| Reads::of(data.part(row * width..(row + 1) * width)),
                || (Vec::new(), vec![0.0; matrix.cols]),
                |(mask, values), (to, row)| {
                    dtype.decode(data.part(row * width..(row + 1) * width).bytes(), values);
                    if view.row_mask(*place, matrix, *row, mask)? {
                        zero_pruned(values, mask);
                    }
                    let kept: Vec<f64> = smaller.columns.iter().map(|column| values[*column]).collect();
                    let (out, overflowed) = encode(&kept);
                    writer.write_at(slot, (to * out.len()) as u64, &out)?;
                    Ok::<_, Error>(overflowed)
                },
            )?;
            result.overflowed = overflowed.into_iter().sum();
        }
        Ok(())
    }
}

impl Smaller {
    /// The remaining shape.
    pub fn shape(&self) -> Shape {
        Shape::new(self.dims.clone()).expect("smaller than one that is")
    }

    /// Determines the remaining shape and part, once the removed units are known.
    fn finish(&mut self, view: &View<'_>, place: usize) -> Result<(), Error> {
        let shape = view.shape(place)?;
        if shape.rank() == 1 {
            let kept = |mask: &[u8]| self.rows.iter().filter(|row| bit(mask, **row)).count() as u64;
            let mut stored = self.rows.len() as u64;
            view.rows(place, |_, mask| stored = kept(mask))?;
            self.stored = stored;
            self.dims = vec![self.rows.len()];
            return Ok(());
        }
        let matrix = shape.matrix();
        let mut mask = Vec::new();
        for row in &self.rows {
            let masked = view.row_mask(place, matrix, *row, &mut mask)?;
            let kept = self.columns.iter().filter(|column| !masked || bit(&mask, **column)).count();
            self.stored += kept as u64;
        }
        self.dims = shape.dims().to_vec();
        self.dims[0] = self.rows.len();
        self.dims[1] = self.dims[1] * self.columns.len() / matrix.cols.max(1);
        Ok(())
    }
}
