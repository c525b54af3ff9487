//! Handles of tensors, and reading their rows.

use alloc::boxed::Box;
use core::mem;

use cdi_core::reader::TensorReader;
use cdi_core::tensor::Element;

use crate::error::{Failure, cdi_error, cdi_status, report};
use crate::file::{Open, Shared, cdi_file, opened_file, out, tensor};

/// A handle of one tensor. It keeps data that later reads need again, and is used by one thread at a time.
pub struct cdi_tensor {
    /// Borrows from the file below, and is dropped before it.
    reader: TensorReader<'static>,
    _file: Shared<Open>,
}

// Handles may go from one thread to another, and files be shared.
#[cfg(feature = "std")]
const _: () = {
    const fn shared<T: Send + Sync>() {}
    const fn sent<T: Send>() {}
    shared::<Open>();
    sent::<TensorReader<'static>>();
};

/// Opens the tensor with this index, from 0. Sets `*tensor` to a handle for `cdi_tensor_close`, or to NULL if
/// there is an error.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_tensor_open(
    file: *const cdi_file,
    index: usize,
    tensor: *mut *mut cdi_tensor,
    error: *mut cdi_error,
) -> cdi_status {
    report(error, || {
        // SAFETY: promised by the caller.
        let (out, file) = unsafe { (out(tensor, "tensor")?, opened_file(file)?) };
        let described = self::tensor(file, index)?;
        let reader = file.reader.tensor_reader(described.name())?;
        // SAFETY: it borrows from the file, which lies on the heap and lives as long as the
        // handle's share in it.
        let reader = unsafe { mem::transmute::<TensorReader<'_>, TensorReader<'static>>(reader) };
        *out = Box::into_raw(Box::new(cdi_tensor { reader, _file: Shared::clone(file) }));
        Ok(())
    })
}

/// Closes a handle. Does nothing with NULL.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_tensor_close(tensor: *mut cdi_tensor) {
    if !tensor.is_null() {
        // SAFETY: promised by the caller; the handle is one of `cdi_tensor_open`.
        drop(unsafe { Box::from_raw(tensor) });
    }
}

/// Restores the rows from `begin` to before `end` of the matrix view, as little-endian bytes of the tensor's
/// own type, any type. `size` must be exactly their number of bytes. If a block of a coded tensor turns out
/// to be damaged (CDI_FILE), the contents of `out` are unspecified; after any other error they are unchanged.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_read_rows(
    tensor: *mut cdi_tensor,
    begin: usize,
    end: usize,
    out: *mut u8,
    size: usize,
    error: *mut cdi_error,
) -> cdi_status {
    report(error, || {
        // SAFETY: promised by the caller.
        let tensor = unsafe { handle(tensor) }?;
        let bits = tensor.elements(begin, end)?.checked_mul(tensor.reader.dtype().bitsize());
        let bytes = bits.filter(|bits| bits.is_multiple_of(8)).map(|bits| bits / 8);
        let bytes = bytes.ok_or_else(|| Failure::argument("these rows do not begin and end with a byte"))?;
        fits(bytes, size, "bytes")?;
        // SAFETY: promised by the caller; it is as long as the rows.
        let out = unsafe { buffer(out, size) }?;
        Ok(tensor.reader.read_rows(begin..end, out)?)
    })
}

/// Like `cdi_read_rows`, as `float`. `count` must be exactly the number of elements, and `out`
/// aligned like any array of `float`. The type of the tensor must be one whose values a `float` can
/// hold: F32, F16 or BF16.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_read_f32(
    tensor: *mut cdi_tensor,
    begin: usize,
    end: usize,
    out: *mut f32,
    count: usize,
    error: *mut cdi_error,
) -> cdi_status {
    // SAFETY: promised by the caller.
    unsafe { elements(tensor, (begin, end), out, count, error) }
}

/// Like `cdi_read_f32`, as `double`, for the types F64, F32, F16 and BF16.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cdi_read_f64(
    tensor: *mut cdi_tensor,
    begin: usize,
    end: usize,
    out: *mut f64,
    count: usize,
    error: *mut cdi_error,
) -> cdi_status {
    // SAFETY: promised by the caller.
    unsafe { elements(tensor, (begin, end), out, count, error) }
}

/// # Safety
/// As for `cdi_read_rows`, with `count` elements.
unsafe fn elements<E: Element + Default>(
    tensor: *mut cdi_tensor,
    (begin, end): (usize, usize),
    out: *mut E,
    count: usize,
    error: *mut cdi_error,
) -> cdi_status {
    report(error, || {
        // SAFETY: promised by the caller.
        let tensor = unsafe { handle(tensor) }?;
        fits(tensor.elements(begin, end)?, count, "elements")?;
        // SAFETY: promised by the caller; it is as long as the rows.
        let out = unsafe { buffer(out, count) }?;
        Ok(tensor.reader.read_elements(begin..end, out)?)
    })
}

impl cdi_tensor {
    /// How many elements these rows have.
    fn elements(&self, begin: usize, end: usize) -> Result<usize, Failure> {
        let matrix = self.reader.shape().matrix();
        if begin > end || end > matrix.rows {
            let rows = matrix.rows;
            return Err(Failure::argument(format_args!(
                "there are {rows} rows, but {begin} to {end} were asked for"
            )));
        }
        Ok((end - begin) * matrix.cols)
    }
}

/// Nothing is written to a buffer of another size than its rows have: it may be shorter than is said.
fn fits(expected: usize, got: usize, what: &str) -> Result<(), Failure> {
    if expected == got {
        return Ok(());
    }
    Err(Failure::argument(format_args!("the rows have {expected} {what}, but out is said to have {got}")))
}

/// # Safety
/// NULL or a handle that no other thread uses.
unsafe fn handle<'a>(tensor: *mut cdi_tensor) -> Result<&'a mut cdi_tensor, Failure> {
    // SAFETY: promised by the caller.
    unsafe { tensor.as_mut() }.ok_or_else(|| Failure::null("tensor"))
}

/// The caller's memory, with zeros in it: a slice must not hold what is uninitialised.
///
/// # Safety
/// NULL or memory for so many elements, which nothing else uses.
unsafe fn buffer<'a, E: Default>(out: *mut E, count: usize) -> Result<&'a mut [E], Failure> {
    if out.is_null() && count == 0 {
        return Ok(&mut []);
    }
    if out.is_null() {
        return Err(Failure::null("out"));
    }
    if !out.is_aligned() {
        return Err(Failure::argument(format_args!("out is not aligned to {} bytes", align_of::<E>())));
    }
    if count.checked_mul(size_of::<E>()).is_none_or(|bytes| isize::try_from(bytes).is_err()) {
        return Err(Failure::argument(format_args!("no buffer has {count} elements")));
    }
    // SAFETY: promised by the caller; numbers of which all bytes are zero are valid.
    unsafe {
        out.write_bytes(0, count);
        Ok(core::slice::from_raw_parts_mut(out, count))
    }
}
