/* Prints how much heap and stack it takes to read all F32, F16 and BF16 tensors of a file, some rows at a time:
 *
 *     examples/c/cortex-m4/run examples/c/cortex-m4/memory.c FILE [ROWS]
 *
 * It fills unused memory with a pattern and looks how much of that is left. For files of up to 1 MiB. */
#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "cdi_prune.h"

enum { PATTERN = 0xA5, STACK = 100000, HEAP = 4 << 20, ROW = 1 << 16 };

static unsigned char file_bytes[1 << 20];
static float row[ROW];

/* The end of the heap (newlib). */
char *_sbrk(int more);

static void must(cdi_status status, const cdi_error *error) {
    if (status != CDI_OK) {
        printf("error: %s\n", error->message);
        exit(1);
    }
}

static void read_all(size_t length, size_t rows_at_once) {
    cdi_error error;
    cdi_file *file;
    must(cdi_open_memory(file_bytes, length, NULL, 0, NULL, &file, &error), &error);
    for (size_t index = 0; index < cdi_count(file); index++) {
        cdi_info info;
        cdi_tensor *tensor;
        must(cdi_inspect(file, index, &info, &error), &error);
        must(cdi_tensor_open(file, index, &tensor, &error), &error);
        for (size_t begin = 0; begin < info.rows; begin += rows_at_once) {
            size_t end = begin + rows_at_once < info.rows ? begin + rows_at_once : info.rows;
            size_t count = (end - begin) * info.columns;
            if (count > ROW) {
                printf("error: more than %d weights at once\n", ROW);
                exit(1);
            }
            must(cdi_read_f32(tensor, begin, end, row, count, &error), &error);
        }
        cdi_tensor_close(tensor);
    }
    cdi_close(file);
}

static void fill(volatile unsigned char *from, size_t size) {
    for (size_t n = 0; n < size; n++) from[n] = PATTERN;
}

int main(int argc, char **argv) {
    FILE *stream = argc > 1 ? fopen(argv[1], "rb") : NULL;
    if (!stream) {
        printf("usage: memory FILE [ROWS]\n");
        return 2;
    }
    size_t length = fread(file_bytes, 1, sizeof file_bytes, stream);
    fclose(stream);
    /* Free memory within the heap is not filled, and counted as used. */
    size_t free_before = (size_t)mallinfo().fordblks;

    volatile unsigned char here;
    volatile unsigned char *stack = (volatile unsigned char *)((uintptr_t)&here - STACK);
    volatile unsigned char *heap = (volatile unsigned char *)_sbrk(0);
    fill(stack, STACK - 256);
    fill(heap, HEAP);
    read_all(length, argc > 2 ? (size_t)atoi(argv[2]) : 1);
    size_t heap_used = HEAP, stack_used = STACK;
    while (heap_used && heap[heap_used - 1] == PATTERN) heap_used--;
    while (stack_used && stack[STACK - stack_used] == PATTERN) stack_used--;
    printf("heap %lu bytes, stack %lu bytes\n", (unsigned long)(heap_used + free_before), (unsigned long)stack_used);
    return 0;
}
