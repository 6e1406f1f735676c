/* The stack protector without a C library: the guard that the compiler's checks compare, and their end.
 *
 * The kernel leaves 16 random bytes on the stack of every program (AT_RANDOM), which is where a C
 * library takes its guard from too. One byte is zero: no overflowing string can write it.
 */
#ifndef CLOCHE_GUARD_H
#define CLOCHE_GUARD_H

#ifndef CLOCHE_HOSTED
unsigned long __stack_chk_guard = 0x595e9fbd94fda700;

__attribute__((noreturn, used)) void __stack_chk_fail(void);
void __stack_chk_fail(void)
{
    __builtin_trap();
}

/* stack: as the kernel left it: argc, arguments, 0, environment, 0, pairs of a type and a value. Called
 * from where nothing returns to, as what is guarded by the old value must not be left under the new one. */
__attribute__((always_inline)) static inline void seed_guard(const unsigned long *stack)
{
    const unsigned long *at = stack + 1 + stack[0] + 1;
    while (*at++) { }
    for (; *at; at += 2)
        if (*at == 25 /* AT_RANDOM */) __stack_chk_guard = *(const unsigned long *)at[1] & ~0xffUL;
}
#else
/* The C library has done it. */
__attribute__((unused)) static inline void seed_guard(const unsigned long *stack) { (void)stack; }
#endif

#endif
