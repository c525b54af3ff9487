//! The functions as C calls them: what they restore, and what they answer to wrong arguments and files.

use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use cdi_prune_c::*;

fn vector(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/vectors").join(format!("{name}.safetensors"))
}

fn c_text(text: impl AsRef<[u8]>) -> CString {
    CString::new(text.as_ref()).unwrap()
}

fn c_path(path: &Path) -> CString {
    c_text(path.to_str().unwrap())
}

/// The outcome of a call: the text of the error, or the status if the function wrote none.
fn outcome(call: impl FnOnce(*mut cdi_error) -> cdi_status) -> Result<(), (cdi_status, String)> {
    // Uninitialised, as it is in C.
    let mut error = MaybeUninit::<cdi_error>::uninit();
    match call(error.as_mut_ptr()) {
        cdi_status::CDI_OK => Ok(()),
        status => {
            // SAFETY: after an error, the text is written and ends with a zero.
            let message = unsafe { CStr::from_ptr((&raw const (*error.as_ptr()).message).cast()) };
            Err((status, message.to_str().unwrap().to_owned()))
        }
    }
}

fn open(path: &Path, base: Option<&Path>) -> Result<*mut cdi_file, (cdi_status, String)> {
    let (path, base) = (c_path(path), base.map(c_path));
    let mut file = null_mut();
    // SAFETY: both texts live until the call returns.
    outcome(|error| unsafe {
        cdi_open(path.as_ptr(), base.as_ref().map_or(null(), |base| base.as_ptr()), null(), &mut file, error)
    })?;
    Ok(file)
}

fn open_memory(
    bytes: &'static [u8],
    base: Option<&'static [u8]>,
) -> Result<*mut cdi_file, (cdi_status, String)> {
    let base = base.map_or((null(), 0), |base| (base.as_ptr(), base.len()));
    let mut file = null_mut();
    // SAFETY: the memory is never freed.
    outcome(|error| unsafe {
        cdi_open_memory(bytes.as_ptr(), bytes.len(), base.0, base.1, null(), &mut file, error)
    })?;
    Ok(file)
}

fn leak(bytes: Vec<u8>) -> &'static [u8] {
    Box::leak(bytes.into())
}

fn inspect(file: *const cdi_file, index: usize) -> cdi_info {
    let mut info = MaybeUninit::uninit();
    // SAFETY: the file is open, and the description is written if the call succeeds.
    unsafe {
        outcome(|error| cdi_inspect(file, index, info.as_mut_ptr(), error)).unwrap();
        info.assume_init()
    }
}

fn tensor(file: *const cdi_file, index: usize) -> *mut cdi_tensor {
    let mut tensor = null_mut();
    // SAFETY: the file is open.
    outcome(|error| unsafe { cdi_tensor_open(file, index, &mut tensor, error) }).unwrap();
    tensor
}

/// Names, types, dimensions and bytes of all tensors, read `rows` rows at a time.
fn contents(file: *mut cdi_file, rows: usize) -> Vec<(String, cdi_dtype, Vec<usize>, Vec<u8>)> {
    // SAFETY: the file is open, and `info` is used before it is closed.
    unsafe {
        let found = (0..cdi_count(file)).map(|index| {
            let info = inspect(file, index);
            let name = CStr::from_ptr(info.name).to_str().unwrap().to_owned();
            let dims = std::slice::from_raw_parts(info.dims, info.rank).to_vec();
            let (tensor, row) = (tensor(file, index), info.bytes / info.rows.max(1));
            let mut bytes = vec![0; info.bytes];
            for begin in (0..info.rows).step_by(rows) {
                let end = info.rows.min(begin + rows);
                let out = &mut bytes[row * begin..row * end];
                outcome(|error| cdi_read_rows(tensor, begin, end, out.as_mut_ptr(), out.len(), error))
                    .unwrap();
            }
            cdi_tensor_close(tensor);
            (name, info.dtype, dims, bytes)
        });
        let found = found.collect();
        cdi_close(file);
        found
    }
}

/// A safetensors file with these tensors, each with its JSON of dtype and shape, and its bytes.
fn safetensors(tensors: &[(&str, &str, &[u8])]) -> Vec<u8> {
    let mut at = 0;
    let entries = tensors.iter().map(|(name, form, bytes)| {
        at += bytes.len();
        format!(r#""{name}":{{{form},"data_offsets":[{},{at}]}}"#, at - bytes.len())
    });
    let header = format!("{{{}}}", entries.collect::<Vec<_>>().join(","));
    let data = tensors.iter().flat_map(|(_, _, bytes)| bytes.iter());
    (header.len() as u64).to_le_bytes().into_iter().chain(header.bytes()).chain(data.copied()).collect()
}

/// Two rows of 1, 2 and 3, 4.
fn two_rows() -> Vec<u8> {
    let values: Vec<u8> = [1f32, 2.0, 3.0, 4.0].iter().flat_map(|x| x.to_le_bytes()).collect();
    safetensors(&[("w", r#""dtype":"F32","shape":[2,2]"#, &values)])
}

#[test]
fn coded_files_are_what_they_were_before_they_were_coded() {
    for (name, has_base) in [
        ("values", false),
        ("differences", true),
        ("pruned", true),
        ("bytes", true),
        ("plain", true),
        ("steps", true),
    ] {
        let base = has_base.then(|| vector(&format!("{name}.base")));
        let expected = contents(open(&vector(&format!("{name}.decoded")), None).unwrap(), 1000);
        assert!(!expected.is_empty());
        assert_eq!(contents(open(&vector(name), base.as_deref()).unwrap(), 1), expected, "{name}");
        let in_memory = |path: &Path| leak(fs::read(path).unwrap());
        let file = open_memory(in_memory(&vector(name)), base.as_deref().map(in_memory)).unwrap();
        assert_eq!(contents(file, 3), expected, "{name} in memory");
    }
}

#[test]
fn a_folder_of_shards_is_one_file() {
    let folder = tempfile::tempdir().unwrap();
    let form = r#""dtype":"U8","shape":[2]"#;
    fs::write(folder.path().join("1.safetensors"), safetensors(&[("b", form, &[1, 2])])).unwrap();
    fs::write(folder.path().join("2.safetensors"), safetensors(&[("a", form, &[3, 4])])).unwrap();
    let index = r#"{"weight_map":{"a":"2.safetensors","b":"1.safetensors"}}"#;
    let path = folder.path().join("model.safetensors.index.json");
    fs::write(&path, index).unwrap();
    let expected = [
        ("a".to_owned(), cdi_dtype::CDI_U8, vec![2], vec![3, 4]),
        ("b".to_owned(), cdi_dtype::CDI_U8, vec![2], vec![1, 2]),
    ];
    assert_eq!(contents(open(folder.path(), None).unwrap(), 1), expected);
    assert_eq!(contents(open(&path, None).unwrap(), 1), expected);
}

/// The values are part of the interface: a C program has them compiled in.
#[test]
fn every_type_has_its_number() {
    let types = [
        ("F64", 8, 1),
        ("F32", 4, 2),
        ("F16", 2, 3),
        ("BF16", 2, 4),
        ("I64", 8, 5),
        ("I32", 4, 6),
        ("I16", 2, 7),
        ("I8", 1, 8),
        ("U64", 8, 9),
        ("U32", 4, 10),
        ("U16", 2, 11),
        ("U8", 1, 12),
        ("BOOL", 1, 13),
        ("F8_E4M3", 1, 14),
        ("F8_E5M2", 1, 15),
        ("F8_E8M0", 1, 0),
    ];
    for (name, size, number) in types {
        let form = format!(r#""dtype":"{name}","shape":[3,1]"#);
        let found =
            contents(open_memory(leak(safetensors(&[("x", &form, &vec![1; 3 * size])])), None).unwrap(), 2);
        assert_eq!(found.len(), 1);
        assert_eq!((found[0].1 as i32, found[0].3.len()), (number, 3 * size), "{name}");
    }
    let statuses =
        [cdi_status::CDI_OK, cdi_status::CDI_ARGUMENT, cdi_status::CDI_FILE, cdi_status::CDI_INTERNAL];
    assert_eq!(statuses.map(|status| status as i32), [0, 1, 2, 3]);
}

#[test]
fn rows_come_as_elements_too() {
    let bf16 = [0x3f80u16, 0xc000, 0x7f80, 0x0001].map(u16::to_le_bytes).concat();
    let file = safetensors(&[
        ("x", r#""dtype":"BF16","shape":[2,2]"#, &bf16),
        ("y", r#""dtype":"F64","shape":[1]"#, &[0; 8]),
    ]);
    let file = open_memory(leak(file), None).unwrap();
    let (x, y) = (tensor(file, 0), tensor(file, 1));
    let (mut floats, mut doubles) = ([0f32; 4], [0f64; 2]);
    // SAFETY: handles and buffers are valid.
    unsafe {
        outcome(|error| cdi_read_f32(x, 0, 2, floats.as_mut_ptr(), 4, error)).unwrap();
        assert_eq!(floats, [1.0, -2.0, f32::INFINITY, f32::from_bits(0x1_0000)]);
        outcome(|error| cdi_read_f64(x, 1, 2, doubles.as_mut_ptr(), 2, error)).unwrap();
        assert_eq!(doubles, [f64::INFINITY, f64::from(f32::from_bits(0x1_0000))]);
        let wrong = outcome(|error| cdi_read_f32(y, 0, 1, floats.as_mut_ptr(), 1, error)).unwrap_err();
        let message = "tensor `y` is F64, whose values do not all fit into elements of type f32; request a type \
                       that holds them, or read its bytes";
        assert_eq!(wrong, (cdi_status::CDI_ARGUMENT, message.to_owned()));
        cdi_tensor_close(x);
        cdi_tensor_close(y);
        cdi_close(file);
    }
}

#[test]
fn a_handle_keeps_its_file() {
    let file = open_memory(leak(two_rows()), None).unwrap();
    let tensor = tensor(file, 0);
    let mut row = [0f32; 2];
    // SAFETY: the handle is open, though its file is not.
    unsafe {
        cdi_close(file);
        outcome(|error| cdi_read_f32(tensor, 1, 2, row.as_mut_ptr(), 2, error)).unwrap();
        cdi_tensor_close(tensor);
    }
    assert_eq!(row, [3.0, 4.0]);
}

#[test]
fn wrong_arguments_are_named() {
    let file = open_memory(leak(two_rows()), None).unwrap();
    let w = tensor(file, 0);
    let (mut handle, mut info, mut index) = (null_mut(), MaybeUninit::<cdi_info>::uninit(), 7usize);
    let mut out = [0f32; 5];
    let (bytes, odd) =
        (out.as_mut_ptr().cast::<u8>(), out.as_mut_ptr().cast::<u8>().wrapping_add(1).cast::<f32>());
    let (path, bad): (*const c_char, *const c_char) = (c"x".as_ptr(), c"\xff".as_ptr());
    let argument = |call: &mut dyn FnMut(*mut cdi_error) -> cdi_status, message: &str| {
        assert_eq!(outcome(call), Err((cdi_status::CDI_ARGUMENT, message.to_owned())));
    };
    // SAFETY: what is not NULL is valid.
    unsafe {
        let mut other = std::ptr::dangling_mut();
        argument(&mut |e| cdi_open(null(), null(), null(), &mut other, e), "path is NULL");
        assert!(other.is_null());
        argument(&mut |e| cdi_open(path, null(), null(), null_mut(), e), "file is NULL");
        argument(&mut |e| cdi_open(bad, null(), null(), &mut other, e), "path is not UTF-8");
        other = std::ptr::dangling_mut();
        argument(&mut |e| cdi_open(path, bad, null(), &mut other, e), "base is not UTF-8");
        assert!(other.is_null());
        argument(&mut |e| cdi_open_memory(null(), 1, null(), 0, null(), &mut other, e), "bytes is NULL");
        argument(&mut |e| cdi_open_memory(bytes, 1, null(), 0, null(), null_mut(), e), "file is NULL");
        argument(
            &mut |e| cdi_open_memory(bytes, usize::MAX, null(), 0, null(), &mut other, e),
            "bytes cannot have 18446744073709551615 bytes",
        );
        argument(
            &mut |e| cdi_open_memory(bytes, 1, bytes, usize::MAX, null(), &mut other, e),
            "base cannot have 18446744073709551615 bytes",
        );
        argument(&mut |e| cdi_inspect(null(), 0, info.as_mut_ptr(), e), "file is NULL");
        argument(&mut |e| cdi_inspect(file, 0, null_mut(), e), "info is NULL");
        argument(
            &mut |e| cdi_inspect(file, 1, info.as_mut_ptr(), e),
            "the file has 1 tensor, and none has index 1",
        );
        argument(&mut |e| cdi_find(null(), path, &mut index, e), "file is NULL");
        argument(&mut |e| cdi_find(file, null(), &mut index, e), "name is NULL");
        argument(&mut |e| cdi_find(file, bad, &mut index, e), "name is not UTF-8");
        argument(&mut |e| cdi_find(file, path, &mut index, e), "there is no tensor `x`");
        argument(&mut |e| cdi_find(file, c"w".as_ptr(), null_mut(), e), "index is NULL");
        assert_eq!(index, 7);
        argument(&mut |e| cdi_tensor_open(null(), 0, &mut handle, e), "file is NULL");
        argument(&mut |e| cdi_tensor_open(file, 0, null_mut(), e), "tensor is NULL");
        handle = std::ptr::dangling_mut();
        argument(
            &mut |e| cdi_tensor_open(file, usize::MAX, &mut handle, e),
            "the file has 1 tensor, and none has index 18446744073709551615",
        );
        assert!(handle.is_null());
        argument(&mut |e| cdi_read_rows(null_mut(), 0, 1, bytes, 8, e), "tensor is NULL");
        argument(&mut |e| cdi_read_rows(w, 0, 1, null_mut(), 8, e), "out is NULL");
        argument(
            &mut |e| cdi_read_rows(w, 0, 1, bytes, 7, e),
            "the rows have 8 bytes, but out is said to have 7",
        );
        argument(
            &mut |e| cdi_read_rows(w, 0, 3, bytes, 20, e),
            "there are 2 rows, but 0 to 3 were asked for",
        );
        argument(&mut |e| cdi_read_rows(w, 2, 1, bytes, 8, e), "there are 2 rows, but 2 to 1 were asked for");
        argument(
            &mut |e| cdi_read_rows(w, 0, 1, bytes, usize::MAX, e),
            "the rows have 8 bytes, but out is said to have 18446744073709551615",
        );
        argument(&mut |e| cdi_read_f32(null_mut(), 0, 1, out.as_mut_ptr(), 2, e), "tensor is NULL");
        argument(&mut |e| cdi_read_f32(w, 0, 1, odd, 2, e), "out is not aligned to 4 bytes");
        argument(
            &mut |e| cdi_read_f32(w, 0, 2, out.as_mut_ptr(), 5, e),
            "the rows have 4 elements, but out is said to have 5",
        );
        argument(
            &mut |e| cdi_read_f32(w, 0, 1, out.as_mut_ptr(), usize::MAX / 4, e),
            "the rows have 2 elements, but out is said to have 4611686018427387903",
        );
        argument(&mut |e| cdi_read_f64(null_mut(), 0, 1, null_mut(), 2, e), "tensor is NULL");
        argument(&mut |e| cdi_read_f64(w, 0, 1, odd.cast(), 2, e), "out is not aligned to 8 bytes");

        // Nothing needs a place for the error, and no rows need no buffer.
        assert_eq!(cdi_read_rows(w, 0, 3, bytes, 20, null_mut()), cdi_status::CDI_ARGUMENT);
        outcome(|e| cdi_read_rows(w, 1, 1, null_mut(), 0, e)).unwrap();
        assert_eq!(cdi_count(null()), 0);
        cdi_tensor_close(null_mut());
        cdi_close(null_mut());
        cdi_tensor_close(w);
        cdi_close(file);
    }
}

#[test]
fn wrong_files_are_named() {
    let none = open(Path::new("/none"), None).unwrap_err();
    let message = "/none: cannot open: No such file or directory (os error 2)";
    assert_eq!(none, (cdi_status::CDI_FILE, message.to_owned()));
    let empty = open_memory(&[], None).unwrap_err();
    let message = "in memory: not a safetensors file: 0 bytes, shorter than the 8 bytes of a header length";
    assert_eq!(empty, (cdi_status::CDI_FILE, message.to_owned()));
    let (status, message) = open(&vector("differences"), None).unwrap_err();
    assert_eq!(status, cdi_status::CDI_FILE);
    assert!(message.contains("needs the values of another checkpoint"), "{message}");
}

#[test]
fn limits_are_the_defaults_where_they_are_zero() {
    let file = leak(fs::read(vector("values")).unwrap());
    let opened = |limits: cdi_limits| {
        let mut handle = null_mut();
        // SAFETY: the memory is never freed.
        outcome(|error| unsafe {
            cdi_open_memory(file.as_ptr(), file.len(), null(), 0, &limits, &mut handle, error)
        })?;
        // SAFETY: it was just opened.
        unsafe { cdi_close(handle) };
        Ok(())
    };
    assert_eq!(opened(cdi_limits { elements: 0, bytes: 0 }), Ok(()));
    let (status, message): (_, String) = opened(cdi_limits { elements: 1, bytes: 0 }).unwrap_err();
    assert_eq!(status, cdi_status::CDI_FILE);
    assert!(message.contains("limit of 1"), "{message}");
}

/// Opening checks everything but the blocks of coded tensors. They are found when they are read.
#[test]
fn a_damaged_block_is_an_error_of_the_file() {
    let whole = fs::read(vector("values")).unwrap();
    let mut found = 0;
    for at in (whole.len() / 2..whole.len()).step_by(11) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        let Ok(file) = open_memory(leak(damaged), None) else { continue };
        // SAFETY: the file is open.
        unsafe {
            for index in 0..cdi_count(file) {
                let (info, tensor) = (inspect(file, index), tensor(file, index));
                let mut out = vec![0u8; info.bytes];
                let read =
                    outcome(|error| cdi_read_rows(tensor, 0, info.rows, out.as_mut_ptr(), out.len(), error));
                if let Err((status, message)) = read {
                    assert_eq!(status, cdi_status::CDI_FILE, "{message}");
                    assert!(message.ends_with("the file was damaged after it was written"), "{message}");
                    found += 1;
                }
                cdi_tensor_close(tensor);
            }
            cdi_close(file);
        }
    }
    assert!(found > 0);
}

#[test]
fn a_message_is_one_line_of_whole_characters() {
    // Of the name, 475 bytes would fit: 237 characters of two bytes, and half of one.
    let name = "ü".repeat(300);
    let file = open_memory(leak(two_rows()), None).unwrap();
    let mut index = 0;
    let name = c_text(name);
    // SAFETY: the file is open.
    let (_, message) =
        outcome(|error| unsafe { cdi_find(file, name.as_ptr(), &mut index, error) }).unwrap_err();
    assert_eq!(message, format!("there is no tensor `{}", "ü".repeat((CDI_MESSAGE - 1 - 20) / 2)));
    // SAFETY: as above.
    let (_, message) =
        outcome(|error| unsafe { cdi_find(file, c"a\nb\x1b[1m".as_ptr(), &mut index, error) }).unwrap_err();
    assert_eq!(message, "there is no tensor `a b [1m`");
    // SAFETY: as above.
    unsafe { cdi_close(file) };
}

#[test]
fn a_name_may_contain_a_zero() {
    let file = open_memory(leak(safetensors(&[("a\\u0000b", r#""dtype":"U8","shape":[]"#, &[9])])), None);
    let file = file.unwrap();
    let info = inspect(file, 0);
    // SAFETY: the description points to a name of this length.
    let name = unsafe { std::slice::from_raw_parts(info.name.cast::<u8>(), info.name_length + 1) };
    assert_eq!(name, b"a\0b\0");
    assert_eq!((info.rank, info.rows, info.columns, info.bytes), (0, 1, 1, 1));
    // SAFETY: the file is open.
    unsafe { cdi_close(file) };
}

#[test]
fn sixteen_threads_read_one_file() {
    let expected = contents(open(&vector("values"), None).unwrap(), 1000);
    let file = open(&vector("values"), None).unwrap() as usize;
    std::thread::scope(|scope| {
        for thread in 0..16 {
            let expected = &expected;
            scope.spawn(move || {
                let file = file as *const cdi_file;
                for index in (0..expected.len()).map(|n| (n + thread) % expected.len()) {
                    let (info, tensor) = (inspect(file, index), tensor(file, index));
                    let mut out = vec![0; info.bytes];
                    // SAFETY: the handle is this thread's own, and the file stays open.
                    unsafe {
                        outcome(|error| {
                            cdi_read_rows(tensor, 0, info.rows, out.as_mut_ptr(), out.len(), error)
                        })
                        .unwrap();
                        cdi_tensor_close(tensor);
                    }
                    assert_eq!(out, expected[index].3);
                }
            });
        }
    });
    // SAFETY: no thread uses it any more.
    unsafe { cdi_close(file as *mut cdi_file) };
}

#[test]
fn the_version_is_that_of_the_crate() {
    // SAFETY: a static text.
    assert_eq!(unsafe { CStr::from_ptr(cdi_version()) }.to_str(), Ok(env!("CARGO_PKG_VERSION")));
}
