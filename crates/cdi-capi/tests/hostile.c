/* What no caller should do, and what no file should contain: every function returns an error, and none reads or writes
 * beyond what it was given. Run under AddressSanitizer and valgrind.
 *
 *     hostile FILE TENSOR
 *
 * FILE needs no base, and TENSOR is one of its F32 matrices. At last, sixteen threads read the file at the same time.
 * With the bare library, compile with -DFROM_MEMORY, which leaves out paths and threads. */
#ifndef FROM_MEMORY
#include <pthread.h>
#endif
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cdi_prune.h"

#define CHECK(condition)                                                      \
    do {                                                                      \
        if (!(condition)) {                                                   \
            fprintf(stderr, "line %d: not so: %s\n", __LINE__, #condition); \
            exit(1);                                                          \
        }                                                                     \
    } while (0)

static void says(const cdi_error *error, const char *text) {
    if (strcmp(error->message, text) != 0) {
        fprintf(stderr, "got:      %s\nexpected: %s\n", error->message, text);
        exit(1);
    }
}

static unsigned char *slurp(const char *path, size_t *length) {
    FILE *file = fopen(path, "rb");
    CHECK(file);
    fseek(file, 0, SEEK_END);
    *length = (size_t)ftell(file);
    rewind(file);
    unsigned char *bytes = malloc(*length);
    CHECK(bytes && fread(bytes, 1, *length, file) == *length);
    fclose(file);
    return bytes;
}

/* Opens the file at its path, or its bytes, which stay in `*bytes`. */
static cdi_file *opened(const char *path, unsigned char **bytes, size_t *length) {
    cdi_file *file;
    cdi_error error;
    *bytes = slurp(path, length);
#ifdef FROM_MEMORY
    CHECK(cdi_open_memory(*bytes, *length, NULL, 0, NULL, &file, &error) == CDI_OK);
#else
    CHECK(cdi_open(path, NULL, NULL, &file, &error) == CDI_OK);
#endif
    return file;
}

#ifndef FROM_MEMORY
static void paths(const char *path) {
    cdi_error error;
    cdi_file *file = (cdi_file *)1;
    CHECK(cdi_open(NULL, NULL, NULL, &file, &error) == CDI_ARGUMENT && !file);
    says(&error, "path is NULL");
    CHECK(cdi_open(path, NULL, NULL, NULL, &error) == CDI_ARGUMENT);
    says(&error, "file is NULL");
    CHECK(cdi_open("\xff", NULL, NULL, &file, &error) == CDI_ARGUMENT);
    says(&error, "path is not UTF-8");
    file = (cdi_file *)1;
    CHECK(cdi_open(path, "\xff", NULL, &file, &error) == CDI_ARGUMENT && !file);
    says(&error, "base is not UTF-8");
    CHECK(cdi_open("/none", NULL, NULL, &file, &error) == CDI_FILE && !file);
    says(&error, "/none: cannot open: No such file or directory (os error 2)");
    CHECK(cdi_open("/none", NULL, NULL, &file, NULL) == CDI_FILE);
    CHECK(cdi_open(path, "/none", NULL, &file, &error) == CDI_FILE && !file);
    cdi_limits small = {.elements = 100, .bytes = 0};
    CHECK(cdi_open(path, NULL, &small, &file, &error) == CDI_FILE && strstr(error.message, "100"));
}
#endif

static void memory(const char *path) {
    cdi_error error;
    cdi_file *file = (cdi_file *)1;
    size_t length;
    unsigned char *bytes = slurp(path, &length);
    CHECK(cdi_open_memory(NULL, 3, NULL, 0, NULL, &file, &error) == CDI_ARGUMENT && !file);
    says(&error, "bytes is NULL");
    CHECK(cdi_open_memory(bytes, length, NULL, 0, NULL, NULL, &error) == CDI_ARGUMENT);
    says(&error, "file is NULL");
    CHECK(cdi_open_memory(bytes, SIZE_MAX, NULL, 0, NULL, &file, &error) == CDI_ARGUMENT);
    CHECK(cdi_open_memory(bytes, length, bytes, SIZE_MAX, NULL, &file, &error) == CDI_ARGUMENT);
    CHECK(cdi_open_memory(bytes, 0, NULL, 0, NULL, &file, &error) == CDI_FILE && !file);
    CHECK(cdi_open_memory(bytes, length - 1, NULL, 0, NULL, &file, &error) == CDI_FILE && !file);
    CHECK(cdi_open_memory(bytes, length, bytes, length - 1, NULL, &file, &error) == CDI_FILE && !file);
    cdi_limits small = {.elements = 100, .bytes = 0};
    CHECK(cdi_open_memory(bytes, length, NULL, 0, &small, &file, NULL) == CDI_FILE && !file);
    free(bytes);
}

static void descriptions(const cdi_file *file, const char *name) {
    cdi_error error;
    cdi_info info;
    cdi_tensor *tensor = (cdi_tensor *)1;
    size_t index = 7, count = cdi_count(file);
    CHECK(count > 0 && cdi_count(NULL) == 0);
    CHECK(cdi_inspect(NULL, 0, &info, &error) == CDI_ARGUMENT);
    says(&error, "file is NULL");
    CHECK(cdi_inspect(file, count, &info, &error) == CDI_ARGUMENT);
    CHECK(cdi_inspect(file, SIZE_MAX, &info, NULL) == CDI_ARGUMENT);
    CHECK(cdi_inspect(file, 0, NULL, &error) == CDI_ARGUMENT);
    says(&error, "info is NULL");
    CHECK(cdi_find(NULL, name, &index, &error) == CDI_ARGUMENT);
    says(&error, "file is NULL");
    CHECK(cdi_find(file, NULL, &index, &error) == CDI_ARGUMENT);
    says(&error, "name is NULL");
    CHECK(cdi_find(file, name, NULL, &error) == CDI_ARGUMENT);
    says(&error, "index is NULL");
    CHECK(cdi_find(file, "x", &index, &error) == CDI_ARGUMENT && index == 7);
    says(&error, "there is no tensor `x`");
    CHECK(cdi_tensor_open(file, count, &tensor, &error) == CDI_ARGUMENT && !tensor);
    CHECK(cdi_tensor_open(file, 0, NULL, &error) == CDI_ARGUMENT);
    says(&error, "tensor is NULL");
    tensor = (cdi_tensor *)1;
    CHECK(cdi_tensor_open(NULL, 0, &tensor, &error) == CDI_ARGUMENT && !tensor);
    says(&error, "file is NULL");
}

static void rows_of(cdi_tensor *tensor, size_t rows, size_t columns) {
    cdi_error error;
    size_t count = rows * columns, bytes = count * sizeof(float);
    unsigned char *raw = malloc(bytes);
    float *floats = malloc((count + 1) * sizeof *floats);
    double *doubles = malloc((count + 1) * sizeof *doubles);
    CHECK(raw && floats && doubles);
    CHECK(cdi_read_rows(NULL, 0, rows, raw, bytes, &error) == CDI_ARGUMENT);
    says(&error, "tensor is NULL");
    CHECK(cdi_read_f32(NULL, 0, rows, floats, count, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_f64(NULL, 0, rows, doubles, count, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 0, rows, NULL, bytes, &error) == CDI_ARGUMENT);
    says(&error, "out is NULL");
    CHECK(cdi_read_f32(tensor, 0, rows, NULL, count, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_f64(tensor, 0, rows, NULL, count, &error) == CDI_ARGUMENT);
    /* A buffer of another size is not touched: it may be shorter than is said. */
    memset(raw, 0x55, bytes);
    const size_t wrong[] = {bytes - 1, bytes + 1, 0, (size_t)1 << 28, SIZE_MAX / 8, SIZE_MAX};
    for (size_t n = 0; n < sizeof wrong / sizeof *wrong; n++) {
        CHECK(cdi_read_rows(tensor, 0, rows, raw, wrong[n], &error) == CDI_ARGUMENT);
        CHECK(cdi_read_f32(tensor, 0, rows, (float *)raw, wrong[n], &error) == CDI_ARGUMENT);
        CHECK(cdi_read_f64(tensor, 0, rows, (double *)raw, wrong[n], NULL) == CDI_ARGUMENT);
    }
    CHECK(cdi_read_f32(tensor, 0, rows, (float *)raw, count - 1, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_f64(tensor, 0, rows, (double *)raw, count + 1, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 0, rows + 1, raw, bytes, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, rows, rows + 1, raw, bytes / rows, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 2, 1, raw, bytes, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 0, SIZE_MAX, raw, bytes, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, SIZE_MAX, SIZE_MAX, raw, 0, &error) == CDI_ARGUMENT);
    for (size_t n = 0; n < bytes; n++) CHECK(raw[n] == 0x55);
    CHECK(cdi_read_f32(tensor, 0, rows, (float *)((char *)floats + 1), count, &error) == CDI_ARGUMENT);
    says(&error, "out is not aligned to 4 bytes");
    CHECK(cdi_read_f64(tensor, 0, rows, (double *)((char *)doubles + 4), count, &error) == CDI_ARGUMENT);
    says(&error, "out is not aligned to 8 bytes");

    CHECK(cdi_read_rows(tensor, 0, 0, NULL, 0, &error) == CDI_OK);
    CHECK(cdi_read_rows(tensor, 0, rows, raw, bytes, &error) == CDI_OK);
    CHECK(cdi_read_f32(tensor, 0, rows, floats, count, &error) == CDI_OK);
    CHECK(cdi_read_f64(tensor, 0, rows, doubles, count, NULL) == CDI_OK);
    CHECK(!memcmp(raw, floats, bytes));
    for (size_t n = 0; n < count; n++) CHECK((double)floats[n] == doubles[n]);
    free(doubles);
    free(floats);
    free(raw);
}

static void arguments(const char *path, const char *name) {
    size_t length, index;
    unsigned char *bytes;
    cdi_info info;
    cdi_tensor *tensor;
#ifndef FROM_MEMORY
    paths(path);
#endif
    memory(path);
    cdi_file *file = opened(path, &bytes, &length);
    descriptions(file, name);
    CHECK(cdi_find(file, name, &index, NULL) == CDI_OK);
    CHECK(cdi_inspect(file, index, &info, NULL) == CDI_OK && !strcmp(info.name, name));
    CHECK(info.name_length == strlen(name) && info.dtype == CDI_F32 && info.rank == 2);
    CHECK(info.dims[0] == info.rows && info.dims[1] == info.columns);
    CHECK(cdi_tensor_open(file, index, &tensor, NULL) == CDI_OK);
    /* The tensor keeps its file, but not the description. */
    size_t rows = info.rows, columns = info.columns;
    cdi_close(file);
    rows_of(tensor, rows, columns);
    cdi_tensor_close(tensor);
    cdi_tensor_close(NULL);
    cdi_close(NULL);
    free(bytes);
    printf("arguments: as expected (%s, version %s)\n", name, cdi_version());
}

/* Opens what may be no file, and reads all of it where it is one. */
static int survives(const unsigned char *bytes, size_t length) {
    /* Its own memory, so that a read beyond the end is found. */
    unsigned char *own = malloc(length ? length : 1);
    CHECK(own);
    memcpy(own, bytes, length);
    cdi_limits limits = {.elements = 1 << 24, .bytes = 1 << 26};
    cdi_file *file;
    cdi_error error;
    int opened = cdi_open_memory(own, length, NULL, 0, &limits, &file, &error) == CDI_OK;
    for (size_t n = 0; opened && n < cdi_count(file); n++) {
        cdi_info info;
        cdi_tensor *tensor;
        CHECK(cdi_inspect(file, n, &info, &error) == CDI_OK);
        CHECK(cdi_tensor_open(file, n, &tensor, &error) == CDI_OK);
        if (info.rows && info.bytes / info.rows <= 1 << 22) {
            size_t row = info.bytes / info.rows;
            unsigned char *out = malloc(row ? row : 1);
            CHECK(out);
            cdi_status status = cdi_read_rows(tensor, info.rows - 1, info.rows, out, row, &error);
            CHECK(status == CDI_OK || status == CDI_FILE);
            free(out);
        }
        cdi_tensor_close(tensor);
    }
    cdi_close(file);
    free(own);
    return opened;
}

static void damaged(const char *path) {
    size_t length;
    unsigned char *bytes = slurp(path, &length);
    CHECK(survives(bytes, length));
    for (size_t end = 0; end < length; end += 97) CHECK(!survives(bytes, end));
    /* Every third bit of the header, and every 10,007th of the data. */
    size_t header = 8 + (bytes[0] | (size_t)bytes[1] << 8), opened = 0, tried = 0;
    CHECK(header < length);
    for (size_t bit = 0; bit < 8 * length; bit += bit < 8 * header ? 3 : 10007) {
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
        opened += (size_t)survives(bytes, length);
        tried++;
        bytes[bit / 8] ^= (unsigned char)(1 << bit % 8);
    }
    free(bytes);
    printf("damaged files: %zu tried, %zu opened\n", tried, opened);
}

#ifndef FROM_MEMORY
static const cdi_file *shared;

static void *reader(void *argument) {
    uint64_t *sum = argument;
    for (size_t n = 0; n < cdi_count(shared); n++) {
        cdi_info info;
        cdi_tensor *tensor;
        CHECK(cdi_inspect(shared, n, &info, NULL) == CDI_OK);
        CHECK(cdi_tensor_open(shared, n, &tensor, NULL) == CDI_OK);
        unsigned char *row = malloc(info.bytes / info.rows);
        CHECK(row);
        for (size_t i = 0; i < info.rows; i++) {
            CHECK(cdi_read_rows(tensor, i, i + 1, row, info.bytes / info.rows, NULL) == CDI_OK);
            for (size_t k = 0; k < info.bytes / info.rows; k++) *sum = *sum * 31 + row[k];
        }
        free(row);
        cdi_tensor_close(tensor);
    }
    return NULL;
}

static void threads(const char *path) {
    cdi_file *file;
    CHECK(cdi_open(path, NULL, NULL, &file, NULL) == CDI_OK);
    shared = file;
    pthread_t all[16];
    uint64_t expected = 0, sums[16] = {0};
    reader(&expected);
    for (int n = 0; n < 16; n++) CHECK(!pthread_create(&all[n], NULL, reader, &sums[n]));
    for (int n = 0; n < 16; n++) CHECK(!pthread_join(all[n], NULL));
    for (int n = 0; n < 16; n++) CHECK(sums[n] == expected);
    cdi_close(file);
    printf("sixteen threads: the same bytes as one\n");
}
#endif

int main(int argc, char **argv) {
    CHECK(argc == 3);
    arguments(argv[1], argv[2]);
    damaged(argv[1]);
#ifndef FROM_MEMORY
    threads(argv[1]);
#endif
    return 0;
}
