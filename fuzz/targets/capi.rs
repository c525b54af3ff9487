//! A pruned file in memory, through the functions of the C library: described, and its rows restored.

#![no_main]

use std::ptr::{null, null_mut};

use cdi_prune_c::{
    CDI_MESSAGE, cdi_close, cdi_count, cdi_error, cdi_file, cdi_info, cdi_inspect, cdi_limits,
    cdi_open_memory, cdi_read_f64, cdi_read_rows, cdi_status, cdi_tensor, cdi_tensor_close, cdi_tensor_open,
};

/// A small file may stand for a large tensor.
const LIMITS: cdi_limits = cdi_limits { elements: 1 << 34, bytes: 1 << 16 };
const ROOM: usize = 1 << 20;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    let mut file: *mut cdi_file = null_mut();
    let mut error = cdi_error { message: [1; CDI_MESSAGE] };
    // SAFETY: the bytes outlive the file, and every other pointer is that of a variable or of a handle.
    unsafe {
        let opened =
            cdi_open_memory(bytes.as_ptr(), bytes.len(), null(), 0, &LIMITS, &mut file, &mut error);
        assert_eq!(opened == cdi_status::CDI_OK, !file.is_null());
        assert!(!file.is_null() || error.message.contains(&0));
        for n in 0..cdi_count(file) {
            read(file, n);
        }
        assert_eq!(cdi_inspect(file, cdi_count(file), null_mut(), null_mut()), cdi_status::CDI_ARGUMENT);
        cdi_close(file);
    }
});

/// # Safety
/// The file is open and has this tensor.
unsafe fn read(file: *const cdi_file, n: usize) {
    let (mut info, mut tensor) = (std::mem::MaybeUninit::<cdi_info>::uninit(), null_mut::<cdi_tensor>());
    let mut error = cdi_error { message: [1; CDI_MESSAGE] };
    // SAFETY: as above; the description is written if it is asked for rightly.
    unsafe {
        assert_eq!(cdi_inspect(file, n, info.as_mut_ptr(), &mut error), cdi_status::CDI_OK);
        let info = info.assume_init();
        assert_eq!(cdi_tensor_open(file, n, &mut tensor, &mut error), cdi_status::CDI_OK);
        if info.rows > 0 && info.columns <= ROOM / 8 {
            let size = info.bytes / info.rows;
            let (mut row, mut elements) = (vec![0; size], vec![0.0; info.columns]);
            for at in [0, info.rows / 2, info.rows - 1] {
                let read = cdi_read_rows(tensor, at, at + 1, row.as_mut_ptr(), size, &mut error);
                assert_ne!(read, cdi_status::CDI_INTERNAL);
                let count = info.columns;
                let read = cdi_read_f64(tensor, at, at + 1, elements.as_mut_ptr(), count, &mut error);
                assert_ne!(read, cdi_status::CDI_INTERNAL);
            }
        }
        cdi_tensor_close(tensor);
    }
}
