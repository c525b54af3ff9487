/* Whether a pruned or packed file has the tensors of an ordinary one, to the last bit.
 *
 *     same FILE EXPECTED [BASE]
 *
 * Needs memory for all three files. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cdi_prune.h"

enum { ROWS = 3 };

static void must(int is_right, const char *message) {
    if (!is_right) {
        fprintf(stderr, "error: %s\n", message);
        exit(1);
    }
}

static unsigned char *contents(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    must(file != NULL, path);
    must(fseek(file, 0, SEEK_END) == 0, path);
    *length = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*length);
    must(bytes && fread(bytes, 1, *length, file) == *length, path);
    fclose(file);
    return bytes;
}

static void compare(const cdi_file *file, const cdi_file *expected, size_t index) {
    cdi_error error;
    cdi_info left, right;
    cdi_tensor *a, *b;
    must(cdi_inspect(file, index, &left, &error) == CDI_OK, error.message);
    must(cdi_inspect(expected, index, &right, &error) == CDI_OK, error.message);
    must(left.name_length == right.name_length && !memcmp(left.name, right.name, left.name_length), "another name");
    must(left.dtype == right.dtype && left.rank == right.rank, "another type or rank");
    must(!memcmp(left.dims, right.dims, left.rank * sizeof *left.dims), "other dimensions");
    must(cdi_tensor_open(file, index, &a, &error) == CDI_OK, error.message);
    must(cdi_tensor_open(expected, index, &b, &error) == CDI_OK, error.message);
    size_t row = left.rows ? left.bytes / left.rows : 0;
    unsigned char *one = malloc(ROWS * row + 1), *other = malloc(ROWS * row + 1);
    must(one && other, "no memory");
    for (size_t begin = 0; begin < left.rows; begin += ROWS) {
        size_t end = begin + ROWS < left.rows ? begin + ROWS : left.rows, size = (end - begin) * row;
        must(cdi_read_rows(a, begin, end, one, size, &error) == CDI_OK, error.message);
        must(cdi_read_rows(b, begin, end, other, size, &error) == CDI_OK, error.message);
        must(!memcmp(one, other, size), left.name);
    }
    free(other);
    free(one);
    cdi_tensor_close(b);
    cdi_tensor_close(a);
}

int main(int argc, char **argv) {
    must(argc == 3 || argc == 4, "usage: same FILE EXPECTED [BASE]");
    size_t lengths[3] = {0};
    unsigned char *bytes[3] = {NULL};
    for (int n = 0; n + 1 < argc; n++) bytes[n] = contents(argv[n + 1], &lengths[n]);
    cdi_error error;
    cdi_file *file, *expected;
    must(cdi_open_memory(bytes[0], lengths[0], bytes[2], lengths[2], NULL, &file, &error) == CDI_OK, error.message);
    must(cdi_open_memory(bytes[1], lengths[1], NULL, 0, NULL, &expected, &error) == CDI_OK, error.message);
    must(cdi_count(file) == cdi_count(expected), "another number of tensors");
    for (size_t index = 0; index < cdi_count(expected); index++) compare(file, expected, index);
    printf("%lu tensors, the same\n", (unsigned long)cdi_count(expected));
    cdi_close(expected);
    cdi_close(file);
    for (int n = 0; n < 3; n++) free(bytes[n]);
    return 0;
}
