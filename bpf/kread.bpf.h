/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reads kernel memory in two ways. In tp_btf, fentry and fexit programs the verifier knows the
 * types of pointers, and the programs dereference them directly. In kprobes and raw tracepoints the
 * verifier does not know the types of pointers, and every read is a helper call. The same source is
 * compiled for both: a->probing is a constant in each program, and clang removes the unused branch.
 */
#ifndef RETRANS_KREAD_BPF_H
#define RETRANS_KREAD_BPF_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/* Not inlined, because each inlined read would use eight of the 512 bytes of stack. */
static __noinline __attribute__((unused)) __u64 probe_read(const void *from, __u32 size)
{
	__u64 value = 0;

	/*
	 * A smaller value is in the low bytes: retrans uses kprobes and raw tracepoints on
	 * little-endian architectures only.
	 */
	bpf_probe_read_kernel(&value, size & 15, from);
	return value;
}

#define PROBE_READ(ptr, field)                                                                     \
	((__typeof__((ptr)->field))probe_read(                                                     \
	    (const void *)__builtin_preserve_access_index(&(ptr)->field), sizeof((ptr)->field)))

/*
 * Reads ptr->field for the attempt `a`. The field may be nested: x.y. The pointer is copied to a
 * variable first. Otherwise CO-RE would relocate every access in the expression `ptr`, including
 * `a->`, and clang would keep `a` in memory and not know which of its members are constants.
 */
#define KREAD(a, ptr, field)                                                                       \
	({                                                                                         \
		__typeof__(ptr) from = (ptr);                                                      \
		(a)->probing ? PROBE_READ(from, field) : from->field;                              \
	})

#define KREAD_BITFIELD(a, ptr, field)                                                              \
	({                                                                                         \
		__typeof__(ptr) from = (ptr);                                                      \
		(a)->probing ? BPF_CORE_READ_BITFIELD_PROBED(from, field)                          \
			     : BPF_CORE_READ_BITFIELD(from, field);                                \
	})

#endif /* RETRANS_KREAD_BPF_H */
