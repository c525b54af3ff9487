/* Classifies images with a pruned network, without restoring it: each layer's weights are read a few rows at a time.
 *
 *     classify NETWORK IMAGES
 *
 * NETWORK has the layers fc1, fc2 and fc3 (out x in, with a bias each) with ReLU between them, such as
 * out/quickstart/pruned.safetensors; IMAGES has `x` (bytes, N x 784: 28 x 28 pixels) and `y` (labels), such as
 * examples/data/fashion.safetensors. Images are padded to 32 x 32. Prints the accuracy.
 *
 * With the bare library, which does not open paths, compile with -DFROM_MEMORY. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cdi_prune.h"

enum { ROWS = 8, SIDE = 28, PADDED = 32 };

static void must(cdi_status status, const cdi_error *error) {
    if (status != CDI_OK) {
        fprintf(stderr, "error: %s\n", error->message);
        exit(1);
    }
}

static void *room(size_t count, size_t size) {
    void *memory = calloc(count ? count : 1, size);
    if (!memory) {
        fprintf(stderr, "error: no memory for %zu elements of %zu bytes\n", count, size);
        exit(1);
    }
    return memory;
}

/* Opens a file, whose contents are in `*memory` if the library does not open paths. */
#ifdef FROM_MEMORY
static cdi_file *opened(const char *path, unsigned char **memory) {
    FILE *stream = fopen(path, "rb");
    long length = -1;
    if (stream && fseek(stream, 0, SEEK_END) == 0) length = ftell(stream);
    if (length < 0 || fseek(stream, 0, SEEK_SET) != 0) {
        fprintf(stderr, "error: cannot open %s\n", path);
        exit(1);
    }
    *memory = room((size_t)length, 1);
    if (fread(*memory, 1, (size_t)length, stream) != (size_t)length) {
        fprintf(stderr, "error: cannot read %s\n", path);
        exit(1);
    }
    fclose(stream);
    cdi_error error;
    cdi_file *file;
    must(cdi_open_memory(*memory, (size_t)length, NULL, 0, NULL, &file, &error), &error);
    return file;
}
#else
static cdi_file *opened(const char *path, unsigned char **memory) {
    cdi_error error;
    cdi_file *file;
    *memory = NULL;
    must(cdi_open(path, NULL, NULL, &file, &error), &error);
    return file;
}
#endif

static cdi_tensor *named(const cdi_file *file, const char *name, cdi_info *info) {
    cdi_error error;
    size_t index;
    cdi_tensor *tensor;
    must(cdi_find(file, name, &index, &error), &error);
    must(cdi_inspect(file, index, info, &error), &error);
    must(cdi_tensor_open(file, index, &tensor, &error), &error);
    return tensor;
}

/* One layer for all images: `x` has `count` rows of the layer's inputs. Returns as many rows of its outputs. */
static float *layer(const cdi_file *file, const char *name, const float *x, size_t count, size_t *width, int relu) {
    char weight_name[64], bias_name[64];
    snprintf(weight_name, sizeof weight_name, "%s.weight", name);
    snprintf(bias_name, sizeof bias_name, "%s.bias", name);
    cdi_error error;
    cdi_info weight_info, bias_info;
    cdi_tensor *weight = named(file, weight_name, &weight_info);
    cdi_tensor *bias = named(file, bias_name, &bias_info);
    size_t out = weight_info.rows, in = weight_info.columns;
    if (in != *width || bias_info.columns != out) {
        fprintf(stderr, "error: %s does not fit the layer before it\n", name);
        exit(1);
    }
    float *y = room(count * out, sizeof *y), *b = room(out, sizeof *b), *w = room(ROWS * in, sizeof *w);
    must(cdi_read_f32(bias, 0, 1, b, out, &error), &error);
    for (size_t begin = 0; begin < out; begin += ROWS) {
        size_t end = begin + ROWS < out ? begin + ROWS : out;
        must(cdi_read_f32(weight, begin, end, w, (end - begin) * in, &error), &error);
        for (size_t n = 0; n < count; n++) {
            for (size_t i = begin; i < end; i++) {
                float sum = b[i];
                for (size_t j = 0; j < in; j++) sum += w[(i - begin) * in + j] * x[n * in + j];
                y[n * out + i] = relu && sum < 0 ? 0 : sum;
            }
        }
    }
    free(w);
    free(b);
    cdi_tensor_close(weight);
    cdi_tensor_close(bias);
    *width = out;
    return y;
}

int main(int argc, char **argv) {
    if (argc != 3) {
        fprintf(stderr, "usage: classify NETWORK IMAGES\n");
        return 2;
    }
    cdi_error error;
    unsigned char *data_memory, *network_memory;
    cdi_file *data = opened(argv[2], &data_memory);
    cdi_info images_info, labels_info;
    cdi_tensor *images = named(data, "x", &images_info), *labels = named(data, "y", &labels_info);
    size_t count = images_info.rows;
    if (images_info.columns != SIDE * SIDE || labels_info.columns != count) {
        fprintf(stderr, "error: expected images of 28 x 28, with a label each\n");
        return 1;
    }
    unsigned char *pixels = room(images_info.bytes, 1), *truth = room(labels_info.bytes, 1);
    must(cdi_read_rows(images, 0, count, pixels, images_info.bytes, &error), &error);
    must(cdi_read_rows(labels, 0, 1, truth, labels_info.bytes, &error), &error);
    float *x = room(count * PADDED * PADDED, sizeof *x);
    for (size_t n = 0; n < count; n++) {
        for (size_t i = 0; i < SIDE * SIDE; i++) {
            size_t row = i / SIDE + 2, column = i % SIDE + 2;
            x[(n * PADDED + row) * PADDED + column] = (float)pixels[n * SIDE * SIDE + i] / 255.0f;
        }
    }

    cdi_file *network = opened(argv[1], &network_memory);
    size_t width = PADDED * PADDED, right = 0;
    float *h1 = layer(network, "fc1", x, count, &width, 1);
    float *h2 = layer(network, "fc2", h1, count, &width, 1);
    float *scores = layer(network, "fc3", h2, count, &width, 0);
    for (size_t n = 0; n < count; n++) {
        size_t best = 0;
        for (size_t k = 1; k < width; k++) {
            if (scores[n * width + k] > scores[n * width + best]) best = k;
        }
        right += best == truth[n];
    }
    /* Small C libraries have no %zu. */
    printf("%lu of %lu images are classified correctly (%.1f %%)\n", (unsigned long)right, (unsigned long)count,
           100.0 * (double)right / (double)count);
    free(scores);
    free(h2);
    free(h1);
    free(x);
    free(truth);
    free(pixels);
    cdi_tensor_close(labels);
    cdi_tensor_close(images);
    cdi_close(network);
    cdi_close(data);
    free(network_memory);
    free(data_memory);
    return 0;
}
