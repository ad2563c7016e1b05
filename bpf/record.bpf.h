/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fills a record from an attempt. Every byte of it is written: it goes to user space. */
#ifndef RETRANS_RECORD_BPF_H
#define RETRANS_RECORD_BPF_H

/* The fields that are asked for, a bit each; of the others nothing is read. */
const volatile __u64 wanted_fields = ~0ull;
/* Up to behind the last of them. */
const volatile __u32 record_length = sizeof(struct retrans_record);

/* Take a record `r`, and what is `wanted` of which `length`, in scope. */
#define IS_WANTED(fact) (wanted & 1ull << RETRANS_FIELD_##fact)
#define HAS_ROOM(field) (__builtin_offsetof(struct retrans_record, field) < length)

#define PUT(fact, field, value) r->field = (value);
/* Each byte is written, once: it goes to user space. */
#define PUT_WANTED(fact, field, value)                                                             \
	if (IS_WANTED(fact))                                                                       \
		r->field = (value);                                                                \
	else if (HAS_ROOM(field))                                                                  \
		r->field = 0;
#define PUT_ID(fact, field, value)                                                                 \
	PUT_WANTED(fact, field, value)                                                             \
	if (IS_WANTED(fact) && r->field)                                                           \
		present |= 1ull << RETRANS_FIELD_##fact;
#define PUT_NOTHING(fact, field, value)                                                            \
	if (HAS_ROOM(field))                                                                       \
		r->field = 0;

#define BIT_OF(fact, field, value) | 1ull << RETRANS_FIELD_##fact

/* Of what is there of a full socket. */
#define SOCKET_FIELDS                                                                              \
	(1ull << RETRANS_FIELD_CA_NAME | 1ull << RETRANS_FIELD_SK_ERR_SOFT SEGMENT_FIELDS(BIT_OF)  \
						 TCP_FIELDS(BIT_OF))

static __always_inline void put_addresses(struct retrans_record *r, const struct attempt *a)
{
	struct ends ends = ends_of(a);

	r->family = ends.family;
	__builtin_memcpy(r->saddr, ends.saddr.words, sizeof(r->saddr));
	__builtin_memcpy(r->daddr, ends.daddr.words, sizeof(r->daddr));
}

/* Whether owners are asked for: else there is neither room for them nor a look. */
const volatile bool with_owners = false;

static __always_inline __u64 record_size(void)
{
	return with_owners ? sizeof(struct retrans_owned_record) : record_length;
}

/* Of a record of that size, with all its other fields. */
static __always_inline void put_owner(struct retrans_record *r, const struct attempt *a)
{
	struct retrans_owner *to = &((struct retrans_owned_record *)r)->owner;
	__u64 cookie = cookie_of(a);
	const struct owner *owner = bpf_map_lookup_elem(&owners, &cookie);
	const struct owner *walked;

	__builtin_memset(to, 0, sizeof(*to));
	if (!cookie || !owner || !owner->told.pid)
		return;
	if (owner->told.source == RETRANS_OWNER_HOLDER) {
		__u64 none = NO_COOKIE;

		walked = bpf_map_lookup_elem(&owners, &none);
		if (!walked || walked->walk < owner->walk)
			return;
	}
	*to = owner->told;
	/* An element that is let go of may be another socket's at once. */
	barrier();
	if (owner->cookie == cookie)
		r->header.present |= 1ull << RETRANS_FIELD_OWNER;
	else
		__builtin_memset(to, 0, sizeof(*to));
}

static __always_inline void put_record(struct retrans_record *r, const struct attempt *a)
{
	/* Once: they are volatile. */
	__u64 wanted = wanted_fields;
	__u32 length = record_length;
	__u64 present = wanted & (0 OWNER_FIELDS(BIT_OF));

	r->header.length = record_size();
	r->header.version = RETRANS_RECORD_VERSION;
	r->header.reserved = 0;

	r->ts = a->ts;
	r->err = a->has_err ? a->err : 0;
	if (a->has_err)
		present |= 1ull << RETRANS_FIELD_ERR;
	put_addresses(r, a);
	CONNECTION_FIELDS(PUT)
	OWNER_FIELDS(PUT_WANTED)
	ID_FIELDS(PUT_ID)
	if (HAS_ROOM(zero))
		*(__u16 *)r->zero = 0;
	if (HAS_ROOM(ca_name)) {
		((__u64 *)r->ca_name)[0] = 0;
		((__u64 *)r->ca_name)[1] = 0;
	}
	if (a->tp) {
		SEGMENT_FIELDS(PUT_WANTED)
		TCP_FIELDS(PUT_WANTED)
		PUT_WANTED(SK_ERR_SOFT, sk_err_soft, LOAD(a->sk, sk_err_soft))
		if (IS_WANTED(CA_NAME))
			read_ca_name(a, r->ca_name);
		present |= wanted & SOCKET_FIELDS;
	} else {
		SEGMENT_FIELDS(PUT_NOTHING)
		TCP_FIELDS(PUT_NOTHING)
		PUT_NOTHING(SK_ERR_SOFT, sk_err_soft, 0)
	}
	r->header.present = present;
	if (with_owners)
		put_owner(r, a);
}

#endif /* RETRANS_RECORD_BPF_H */
