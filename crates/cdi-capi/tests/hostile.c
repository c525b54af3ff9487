/* What no caller should do, and what no file should hold: every function answers, and none reads or writes beyond what it
 * was given. Run under AddressSanitizer and valgrind.
 *
 *     hostile FILE [TENSOR]
 *
 * Then sixteen threads read the same file at the same time. */
#include <pthread.h>
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

static void arguments(const char *path, const char *name) {
    cdi_error error;
    cdi_file *file = (cdi_file *)1;
    cdi_tensor *tensor = (cdi_tensor *)1;
    cdi_info info;
    size_t index;
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
    CHECK(cdi_open_memory(NULL, 3, NULL, 0, NULL, &file, &error) == CDI_ARGUMENT);
    says(&error, "bytes is NULL");
    CHECK(cdi_open_memory((const uint8_t *)"", SIZE_MAX, NULL, 0, NULL, &file, &error) == CDI_ARGUMENT);
    CHECK(cdi_open_memory((const uint8_t *)"", 0, NULL, 0, NULL, &file, &error) == CDI_FILE);
    cdi_limits small = {.elements = 100, .bytes = 0};
    CHECK(cdi_open(path, NULL, &small, &file, &error) == CDI_FILE && strstr(error.message, "100"));

    CHECK(cdi_open(path, NULL, NULL, &file, &error) == CDI_OK);
    size_t count = cdi_count(file);
    CHECK(count > 0 && cdi_count(NULL) == 0);
    CHECK(cdi_inspect(NULL, 0, &info, &error) == CDI_ARGUMENT);
    says(&error, "file is NULL");
    CHECK(cdi_inspect(file, count, &info, &error) == CDI_ARGUMENT);
    CHECK(cdi_inspect(file, 0, NULL, &error) == CDI_ARGUMENT);
    says(&error, "info is NULL");
    CHECK(cdi_find(file, NULL, &index, &error) == CDI_ARGUMENT);
    CHECK(cdi_find(file, name, NULL, &error) == CDI_ARGUMENT);
    CHECK(cdi_find(file, "x", &index, &error) == CDI_ARGUMENT);
    says(&error, "there is no tensor `x`");
    CHECK(cdi_find(file, name, &index, &error) == CDI_OK);
    CHECK(cdi_inspect(file, index, &info, &error) == CDI_OK && !strcmp(info.name, name));
    CHECK(cdi_tensor_open(file, count, &tensor, &error) == CDI_ARGUMENT && !tensor);
    CHECK(cdi_tensor_open(file, index, NULL, &error) == CDI_ARGUMENT);
    CHECK(cdi_tensor_open(NULL, index, &tensor, &error) == CDI_ARGUMENT);
    CHECK(cdi_tensor_open(file, index, &tensor, &error) == CDI_OK);
    /* The tensor keeps its file. */
    char kept[256];
    snprintf(kept, sizeof kept, "%s", info.name);
    size_t rows = info.rows, columns = info.columns, bytes = info.bytes;
    cdi_close(file);
    unsigned char *raw = malloc(bytes);
    float *floats = malloc((rows * columns + 1) * sizeof *floats);
    double *doubles = malloc(rows * columns * sizeof *doubles);
    CHECK(raw && floats && doubles);
    CHECK(cdi_read_rows(NULL, 0, rows, raw, bytes, &error) == CDI_ARGUMENT);
    says(&error, "tensor is NULL");
    CHECK(cdi_read_rows(tensor, 0, rows, NULL, bytes, &error) == CDI_ARGUMENT);
    says(&error, "out is NULL");
    /* A buffer of another size is not touched: it may be shorter than is said. */
    memset(raw, 0x55, bytes);
    CHECK(cdi_read_rows(tensor, 0, rows, raw, bytes - 1, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 0, rows, raw, bytes + 1, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 0, rows, raw, (size_t)1 << 28, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_f32(tensor, 0, 1, (float *)raw, (size_t)1 << 28, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_f32(tensor, 0, 1, (float *)raw, columns + 1, &error) == CDI_ARGUMENT);
    for (size_t n = 0; n < bytes; n++) CHECK(raw[n] == 0x55);
    CHECK(cdi_read_rows(tensor, 0, rows + 1, raw, bytes, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 2, 1, raw, bytes, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, SIZE_MAX, SIZE_MAX, raw, 0, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 0, 0, NULL, 0, &error) == CDI_OK);
    CHECK(cdi_read_f32(tensor, 0, rows, (float *)((char *)floats + 1), rows * columns, &error) == CDI_ARGUMENT);
    says(&error, "out is not aligned to 4 bytes");
    CHECK(cdi_read_f32(tensor, 0, rows, floats, SIZE_MAX / 2, &error) == CDI_ARGUMENT);
    CHECK(cdi_read_rows(tensor, 0, rows, raw, bytes, &error) == CDI_OK);
    CHECK(cdi_read_f32(tensor, 0, rows, floats, rows * columns, &error) == CDI_OK);
    CHECK(cdi_read_f64(tensor, 0, rows, doubles, rows * columns, NULL) == CDI_OK);
    for (size_t n = 0; n < rows * columns; n++) CHECK((double)floats[n] == doubles[n]);
    if (bytes == rows * columns * sizeof *floats) CHECK(!memcmp(raw, floats, bytes));
    cdi_tensor_close(tensor);
    cdi_tensor_close(NULL);
    cdi_close(NULL);
    free(doubles);
    free(floats);
    free(raw);
    printf("arguments: as expected (%s of version %s)\n", kept, cdi_version());
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
    for (size_t end = 0; end < length; end += 997) CHECK(!survives(bytes, end));
    /* Every bit of the header, and some of the data. */
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
    uint64_t sums[16] = {0};
    for (int n = 0; n < 16; n++) CHECK(!pthread_create(&all[n], NULL, reader, &sums[n]));
    for (int n = 0; n < 16; n++) CHECK(!pthread_join(all[n], NULL));
    for (int n = 1; n < 16; n++) CHECK(sums[n] == sums[0]);
    cdi_close(file);
    printf("sixteen threads: the same bytes, checksum %016llx\n", (unsigned long long)sums[0]);
}

int main(int argc, char **argv) {
    CHECK(argc == 3);
    arguments(argv[1], argv[2]);
    damaged(argv[1]);
    threads(argv[1]);
    return 0;
}
