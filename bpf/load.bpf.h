/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * Reading the kernel's memory, in two ways. The pointers of tp_btf, fentry and fexit programs have
 * types that the verifier knows, and are followed directly; those of kprobes are plain numbers, and
 * every step is a call. One source serves both: a->probing is a constant in each program, and
 * clang drops what it does not use.
 */
#ifndef RETRANS_LOAD_BPF_H
#define RETRANS_LOAD_BPF_H

/* A function of its own, with its own stack: inline each load would take eight bytes of it. */
static __noinline __u64 probe(const void *from, __u32 size)
{
	__u64 value = 0;

	/* All machines with kprobes here are little-endian. */
	bpf_probe_read_kernel(&value, size & 15, from);
	return value;
}

#define PROBE(ptr, field)                                                                          \
	((__typeof__((ptr)->field))probe(                                                          \
	    (const void *)__builtin_preserve_access_index(&(ptr)->field), sizeof((ptr)->field)))

/*
 * Takes a `struct attempt *a` in scope. The field may lie in members: x.y. The pointer is a
 * variable of its own, since CO-RE would see accesses to be relocated in all of its expression,
 * `a->` too, and clang would keep `a` in memory and know none of its constants.
 */
#define LOAD(ptr, field)                                                                           \
	({                                                                                         \
		__typeof__(ptr) from = (ptr);                                                      \
		a->probing ? PROBE(from, field) : from->field;                                     \
	})

#define LOAD_BITFIELD(ptr, field)                                                                  \
	({                                                                                         \
		__typeof__(ptr) from = (ptr);                                                      \
		a->probing ? BPF_CORE_READ_BITFIELD_PROBED(from, field)                            \
			   : BPF_CORE_READ_BITFIELD(from, field);                                  \
	})

#endif /* RETRANS_LOAD_BPF_H */
