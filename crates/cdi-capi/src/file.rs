//! Files: opening, describing their tensors, closing.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};
use core::ptr;

use cdi_core::reader::{Limits, PrunedReader};
use cdi_core::tensor::Dtype;

use crate::error::{Failure, cdi_error, cdi_status, report};

/// An open file. Several threads may use one at the same time.
pub struct cdi_file(pub(crate) Arc<Open>);

pub(crate) struct Open {
    pub reader: PrunedReader,
    pub tensors: Vec<Tensor>,
}

/// What C is told of a tensor.
pub(crate) struct Tensor {
    /// With a zero behind it.
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

/// What a file may ask for. A limit of 0 stands for the default.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct cdi_limits {
    /// The most elements of a tensor that is stored pruned or coded; 2^40 by default.
    pub elements: u64,
    /// The most bytes that are allocated to draw initial values that can only be drawn all at once (of
    /// orthogonal schemes, 8 bytes each); 4 GiB by default. No other memory grows with what a file describes.
    pub bytes: u64,
}

/// The type of a tensor's elements, as safetensors names it. Later versions may add values.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum cdi_dtype {
    /// A type that this version has no name for.
    CDI_OTHER = 0,
    /// 64 bits, floating-point.
    CDI_F64 = 1,
    /// 32 bits, floating-point.
    CDI_F32 = 2,
    /// 16 bits, IEEE floating-point.
    CDI_F16 = 3,
    /// 16 bits, the upper half of an F32.
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
    /// A byte, 0 or 1.
    CDI_BOOL = 13,
    /// 8 bits, with 4 of the exponent.
    CDI_F8_E4M3 = 14,
    /// 8 bits, with 5 of the exponent.
    CDI_F8_E5M2 = 15,
}

/// A tensor as it is when it is restored. Its pointers stay valid until the file and all handles of
/// its tensors are closed.
#[repr(C)]
pub struct cdi_info {
    /// The name in UTF-8, with a zero behind it.
    pub name: *const c_char,
    /// Bytes of the name without that zero. A name may hold zeros of its own.
    pub name_length: usize,
    /// The type.
    pub dtype: cdi_dtype,
    /// The number of dimensions.
    pub rank: usize,
    /// The dimensions, `rank` of them.
    pub dims: *const usize,
    /// Rows of the matrix view: the first dimension, or 1 for a tensor with fewer than two.
    pub rows: usize,
    /// Elements of a row.
    pub columns: usize,
    /// Bytes of the whole tensor.
    pub bytes: usize,
}

/// Opens a file, an index of shards, or a folder with either, and checks all of its structure. `base` is the
/// checkpoint that initial values come from, or NULL. `limits` may be NULL. Sets `*file` to a handle, which
/// `cdi_close` frees, or to NULL.
///
/// # Safety
/// Texts end with a zero; `limits` and `error` are NULL or valid; `file` may be written.
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
        *out = opened(reader.map_err(Failure::file)?);
        Ok(())
    })
}

/// Opens a single file that is in memory, which is not copied: it must stay as it is until the file and all
/// handles of its tensors are closed. `base` is another, or NULL. Otherwise like `cdi_open`.
///
/// # Safety
/// `bytes` and `base` are NULL or point to as many bytes as is said; the rest as for `cdi_open`.
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
        *out = opened(reader.map_err(Failure::file)?);
        Ok(())
    })
}

/// Closes a file. NULL is fine.
///
/// # Safety
/// `file` is NULL or a handle that has not been closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_close(file: *mut cdi_file) {
    if !file.is_null() {
        // SAFETY: promised by the caller; the handle is one of `opened`.
        drop(unsafe { Box::from_raw(file) });
    }
}

/// The number of tensors; 0 for NULL.
///
/// # Safety
/// `file` is NULL or an open file.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_count(file: *const cdi_file) -> usize {
    // SAFETY: promised by the caller.
    unsafe { file.as_ref() }.map_or(0, |file| file.0.tensors.len())
}

/// Describes a tensor by its index, from 0. Tensors are in the order of their names.
///
/// # Safety
/// `file` is NULL or an open file, `info` NULL or may be written, `error` NULL or valid.
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
            return Err(Failure::argument("info is NULL"));
        }
        // SAFETY: promised by the caller. It may be uninitialised, so nothing of it is dropped.
        unsafe { info.write(found) };
        Ok(())
    })
}

/// Sets `*index` to that of the tensor with this name.
///
/// # Safety
/// `file` is NULL or an open file, `name` ends with a zero, `index` may be written, `error` is NULL or valid.
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
            return Err(Failure::argument("index is NULL"));
        }
        // SAFETY: promised by the caller.
        unsafe { index.write(found) };
        Ok(())
    })
}

fn opened(reader: PrunedReader) -> *mut cdi_file {
    let mut tensors: Vec<Tensor> = reader.tensors().map(described).collect();
    tensors.sort_by(|a, b| a.name().cmp(b.name()));
    Box::into_raw(Box::new(cdi_file(Arc::new(Open { reader, tensors }))))
}

fn described((name, dtype, shape): (&str, Dtype, &cdi_core::tensor::Shape)) -> Tensor {
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
        Failure::argument(format_args!(
            "there are {} tensors, and none has index {index}",
            file.tensors.len()
        ))
    })
}

/// # Safety
/// NULL or an open file.
pub(crate) unsafe fn opened_file<'a>(file: *const cdi_file) -> Result<&'a Arc<Open>, Failure> {
    // SAFETY: promised by the caller.
    unsafe { file.as_ref() }.map(|file| &file.0).ok_or_else(|| Failure::argument("file is NULL"))
}

/// # Safety
/// NULL or a place for a pointer.
pub(crate) unsafe fn out<'a, T>(place: *mut *mut T, name: &str) -> Result<&'a mut *mut T, Failure> {
    if place.is_null() {
        return Err(Failure::argument(format_args!("{name} is NULL")));
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
        return Err(Failure::argument(format_args!("{name} is NULL")));
    }
    // SAFETY: promised by the caller.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map_err(|_| Failure::argument(format_args!("{name} is not UTF-8")))
}

/// # Safety
/// NULL or memory of this length that stays as it is while any handle of the file is open.
unsafe fn memory(bytes: *const u8, length: usize, name: &str) -> Result<&'static [u8], Failure> {
    if bytes.is_null() {
        return Err(Failure::argument(format_args!("{name} is NULL")));
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
