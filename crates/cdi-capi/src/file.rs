//! Files: opening, describing their tensors, closing.

use alloc::boxed::Box;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr;

use cdi_core::reader::{Limits, PrunedReader};
use cdi_core::tensor::{Dtype, Shape};

use crate::error::{Failure, cdi_error, cdi_status, report};

/// The share that a handle has in its file: between threads where files may be used by several.
#[cfg(not(feature = "std"))]
pub(crate) use alloc::rc::Rc as Shared;
#[cfg(feature = "std")]
pub(crate) use alloc::sync::Arc as Shared;

/// An open file, its base included. Several threads may use it at the same time, in the
/// bare library only one.
pub struct cdi_file(pub(crate) Shared<Open>);

pub(crate) struct Open {
    pub reader: PrunedReader,
    pub tensors: Vec<Tensor>,
}

/// The description of a tensor that C gets.
pub(crate) struct Tensor {
    /// Ends with a zero.
    name: Vec<u8>,
    dims: Vec<usize>,
    dtype: cdi_dtype,
    rows: usize,
    columns: usize,
    bytes: usize,
}

impl Tensor {
    pub fn name(&self) -> &str {
        core::str::from_utf8(&self.name[..self.name.len() - 1]).unwrap_or_default()
    }
}

/// How much a file may demand: a small file can describe a tensor of any size. 0 stands for the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct cdi_limits {
    /// Maximum number of elements of a pruned or coded tensor; by default 2^40.
    pub elements: u64,
    /// Maximum number of bytes allocated for initial values that can only be drawn all at once (orthogonal
    /// schemes, 8 bytes per element); by default 4 GiB. No other allocation grows with a tensor.
    pub bytes: u64,
}

/// Element types, with the names of safetensors. These values never change; later versions may add some.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum cdi_dtype {
    /// A type without a name here. `cdi_read_rows` reads it.
    CDI_OTHER = 0,
    /// Floating-point, 64 bits.
    CDI_F64 = 1,
    /// Floating-point, 32 bits.
    CDI_F32 = 2,
    /// Floating-point, 16 bits (IEEE binary16).
    CDI_F16 = 3,
    /// Floating-point, 16 bits: the upper half of an F32.
    CDI_BF16 = 4,
    /// 64 bits, signed.
    CDI_I64 = 5,
    /// 32 bits, signed.
    CDI_I32 = 6,
    /// 16 bits, signed.
    CDI_I16 = 7,
    /// 8 bits, signed.
    CDI_I8 = 8,
    /// 64 bits, unsigned.
    CDI_U64 = 9,
    /// 32 bits, unsigned.
    CDI_U32 = 10,
    /// 16 bits, unsigned.
    CDI_U16 = 11,
    /// 8 bits, unsigned.
    CDI_U8 = 12,
    /// A byte that is 0 or 1.
    CDI_BOOL = 13,
    /// Floating-point, 8 bits, 4 of them for the exponent.
    CDI_F8_E4M3 = 14,
    /// Floating-point, 8 bits, 5 of them for the exponent.
    CDI_F8_E5M2 = 15,
}

/// A tensor as it is when it is restored. The pointers are valid until the file and all handles of its
/// tensors are closed.
#[repr(C)]
pub struct cdi_info {
    /// The name: UTF-8 that ends with a zero.
    pub name: *const c_char,
    /// Length of the name in bytes, without that zero. The name itself may contain zeros.
    pub name_length: usize,
    /// The element type.
    pub dtype: cdi_dtype,
    /// The number of dimensions.
    pub rank: usize,
    /// The dimensions: `rank` numbers.
    pub dims: *const usize,
    /// Number of rows of the matrix view: the first dimension, or 1 if there are fewer than two.
    pub rows: usize,
    /// Number of elements in a row: the product of the other dimensions.
    pub columns: usize,
    /// Size of the whole tensor in bytes.
    pub bytes: usize,
}

/// Opens a file, an index of shards, or a folder that contains either, and checks its whole structure. Files
/// are mapped; other programs must not change them while they are open. `base` is the checkpoint that the
/// file was pruned or packed with, and may be NULL if the file needs none. `limits` may be NULL. Sets `*file`
/// to a handle for `cdi_close`, or to NULL if there is an error.
///
/// The bare library does not have this function.
#[cfg(feature = "std")]
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_open(
    path: *const c_char,
    base: *const c_char,
    limits: *const cdi_limits,
    file: *mut *mut cdi_file,
    error: *mut cdi_error,
) -> cdi_status {
    report(error, || {
        // SAFETY: promised by the caller.
        let (out, path, base, limits) = unsafe {
            let out = out(file, "file")?;
            let base = if base.is_null() { None } else { Some(text(base, "base")?) };
            (out, text(path, "path")?, base, limits_of(limits))
        };
        let reader = PrunedReader::open_within(path.as_ref(), base.map(AsRef::as_ref), limits);
        *out = opened(reader?);
        Ok(())
    })
}

/// Opens a single file of `length` bytes in memory, with a base of `base_length` bytes or NULL. Neither is
/// copied: both must stay unchanged in place until the file and all handles of its tensors are closed.
/// Otherwise like `cdi_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_open_memory(
    bytes: *const u8,
    length: usize,
    base: *const u8,
    base_length: usize,
    limits: *const cdi_limits,
    file: *mut *mut cdi_file,
    error: *mut cdi_error,
) -> cdi_status {
    report(error, || {
        // SAFETY: promised by the caller, and that the memory stays as it is.
        let (out, bytes, base, limits) = unsafe {
            let out = out(file, "file")?;
            let base = if base.is_null() { None } else { Some(memory(base, base_length, "base")?) };
            (out, memory(bytes, length, "bytes")?, base, limits_of(limits))
        };
        let reader = PrunedReader::from_bytes_within(bytes, base.map(Into::into), limits);
        *out = opened(reader?);
        Ok(())
    })
}

/// Closes a file. Does nothing with NULL. Handles of its tensors stay usable, and keep the file open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_close(file: *mut cdi_file) {
    if !file.is_null() {
        // SAFETY: promised by the caller; the handle is one of `opened`.
        drop(unsafe { Box::from_raw(file) });
    }
}

/// The number of tensors, which are ordered by name; 0 for NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_count(file: *const cdi_file) -> usize {
    // SAFETY: promised by the caller.
    unsafe { file.as_ref() }.map_or(0, |file| file.0.tensors.len())
}

/// Describes the tensor with this index, from 0, in `*info`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_inspect(
    file: *const cdi_file,
    index: usize,
    info: *mut cdi_info,
    error: *mut cdi_error,
) -> cdi_status {
    report(error, || {
        // SAFETY: promised by the caller.
        let tensor = tensor(unsafe { opened_file(file) }?, index)?;
        let found = cdi_info {
            name: tensor.name.as_ptr().cast(),
            name_length: tensor.name.len() - 1,
            dtype: tensor.dtype,
            rank: tensor.dims.len(),
            dims: tensor.dims.as_ptr(),
            rows: tensor.rows,
            columns: tensor.columns,
            bytes: tensor.bytes,
        };
        if info.is_null() {
            return Err(Failure::null("info"));
        }
        // SAFETY: promised by the caller. It may be uninitialised, so nothing of it is dropped.
        unsafe { info.write(found) };
        Ok(())
    })
}

/// Sets `*index` to the index of the tensor with this name.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_find(
    file: *const cdi_file,
    name: *const c_char,
    index: *mut usize,
    error: *mut cdi_error,
) -> cdi_status {
    report(error, || {
        // SAFETY: promised by the caller.
        let (file, name) = unsafe { (opened_file(file)?, text(name, "name")?) };
        let found = file.tensors.binary_search_by(|tensor| tensor.name().cmp(name));
        let found = found.map_err(|_| Failure::argument(format_args!("there is no tensor `{name}`")))?;
        if index.is_null() {
            return Err(Failure::null("index"));
        }
        // SAFETY: promised by the caller.
        unsafe { index.write(found) };
        Ok(())
    })
}

fn opened(reader: PrunedReader) -> *mut cdi_file {
    // They come in name order.
    let tensors = reader.tensors().map(described).collect();
    Box::into_raw(Box::new(cdi_file(Shared::new(Open { reader, tensors }))))
}

fn described((name, dtype, shape): (&str, Dtype, &Shape)) -> Tensor {
    let matrix = shape.matrix();
    Tensor {
        name: name.bytes().chain([0]).collect(),
        dims: shape.dims().to_vec(),
        dtype: dtype_of(dtype),
        rows: matrix.rows,
        columns: matrix.cols,
        bytes: shape.bytes(dtype.bitsize()).unwrap_or_default(),
    }
}

fn dtype_of(dtype: Dtype) -> cdi_dtype {
    match dtype {
        Dtype::F64 => cdi_dtype::CDI_F64,
        Dtype::F32 => cdi_dtype::CDI_F32,
        Dtype::F16 => cdi_dtype::CDI_F16,
        Dtype::BF16 => cdi_dtype::CDI_BF16,
        Dtype::I64 => cdi_dtype::CDI_I64,
        Dtype::I32 => cdi_dtype::CDI_I32,
        Dtype::I16 => cdi_dtype::CDI_I16,
        Dtype::I8 => cdi_dtype::CDI_I8,
        Dtype::U64 => cdi_dtype::CDI_U64,
        Dtype::U32 => cdi_dtype::CDI_U32,
        Dtype::U16 => cdi_dtype::CDI_U16,
        Dtype::U8 => cdi_dtype::CDI_U8,
        Dtype::BOOL => cdi_dtype::CDI_BOOL,
        Dtype::F8_E4M3 => cdi_dtype::CDI_F8_E4M3,
        Dtype::F8_E5M2 => cdi_dtype::CDI_F8_E5M2,
        _ => cdi_dtype::CDI_OTHER,
    }
}

pub(crate) fn tensor(file: &Open, index: usize) -> Result<&Tensor, Failure> {
    file.tensors.get(index).ok_or_else(|| {
        let count = file.tensors.len();
        let tensors = if count == 1 { "tensor" } else { "tensors" };
        Failure::argument(format_args!("the file has {count} {tensors}, and none has index {index}"))
    })
}

/// # Safety
/// NULL or an open file.
pub(crate) unsafe fn opened_file<'a>(file: *const cdi_file) -> Result<&'a Shared<Open>, Failure> {
    // SAFETY: promised by the caller.
    unsafe { file.as_ref() }.map(|file| &file.0).ok_or_else(|| Failure::null("file"))
}

/// # Safety
/// NULL or a place for a pointer.
pub(crate) unsafe fn out<'a, T>(place: *mut *mut T, name: &str) -> Result<&'a mut *mut T, Failure> {
    if place.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: promised by the caller. Written before a reference to it is made: it may be uninitialised.
    unsafe {
        place.write(ptr::null_mut());
        Ok(&mut *place)
    }
}

/// # Safety
/// NULL or a text that ends with a zero.
unsafe fn text<'a>(text: *const c_char, name: &str) -> Result<&'a str, Failure> {
    if text.is_null() {
        return Err(Failure::null(name));
    }
    // SAFETY: promised by the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument(format_args!("{name} is not UTF-8")))
}

/// # Safety
/// NULL or memory of this length that stays as it is while any handle of the file is open.
unsafe fn memory(bytes: *const u8, length: usize, name: &str) -> Result<&'static [u8], Failure> {
    if bytes.is_null() {
        return Err(Failure::null(name));
    }
    if isize::try_from(length).is_err() {
        return Err(Failure::argument(format_args!("{name} cannot have {length} bytes")));
    }
    // SAFETY: promised by the caller.
    Ok(unsafe { core::slice::from_raw_parts(bytes, length) })
}

/// # Safety
/// NULL or limits.
unsafe fn limits_of(limits: *const cdi_limits) -> Limits {
    let defaults = Limits::default();
    // SAFETY: promised by the caller.
    unsafe { limits.as_ref() }.map_or(defaults, |given| Limits {
        elements: if given.elements == 0 { defaults.elements } else { given.elements },
        bytes: if given.bytes == 0 { defaults.bytes } else { given.bytes },
    })
}
