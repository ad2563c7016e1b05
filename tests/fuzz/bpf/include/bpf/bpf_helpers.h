/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The part of libbpf's header that the filter needs, for a program in user space. */
#ifndef BPF_HELPERS_H
#define BPF_HELPERS_H

#define __always_inline	 inline __attribute__((always_inline))
#define barrier_var(var) asm volatile("" : "+r"(var))

#endif /* BPF_HELPERS_H */
