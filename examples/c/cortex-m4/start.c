/* Starts a C program on a Cortex-M4 with a floating-point unit: the vector table, and what precedes newlib's start-up. */
#include <stdint.h>
#include <unistd.h>

/* Coprocessor access control: nobody may use the floating-point unit after a reset. */
#define CPACR (*(volatile uint32_t *)0xE000ED88)

extern uint32_t stack_top[];
void _start(void);

static void reset(void) {
    CPACR |= 0xFu << 20;
    __asm volatile("dsb\n isb");
    _start();
}

static void fault(void) { _exit(3); }

/* The initial stack pointer, and the handlers of reset, NMI and the four faults. */
__attribute__((section(".vectors"), used)) static void *const vectors[] = {
    stack_top, (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
};
