/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* Fills a record from an attempt. Every byte of it is written: it goes to user space. */
#ifndef RETRANS_RECORD_BPF_H
#define RETRANS_RECORD_BPF_H

#define PUT(fact, field, value) r->field = (value);
#define PUT_ID(fact, field, value)                                                                 \
	r->field = (value);                                                                        \
	if (r->field)                                                                              \
		present |= 1ull << RETRANS_FIELD_##fact;

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
	return with_owners ? sizeof(struct retrans_owned_record) : sizeof(struct retrans_record);
}

/* Of a record of that size, with all its other fields. */
static __always_inline void put_owner(struct retrans_record *r)
{
	struct retrans_owner *to = &((struct retrans_owned_record *)r)->owner;
	__u64 cookie = r->cookie;
	const struct owner *owner = bpf_map_lookup_elem(&owners, &cookie);
	const struct owner *walked;

	r->header.length = sizeof(struct retrans_owned_record);
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
	__u64 present =
	    1ull << RETRANS_FIELD_NETNS | 1ull << RETRANS_FIELD_UID | 1ull << RETRANS_FIELD_MARK;

	__builtin_memset(r, 0, sizeof(*r));
	r->header.length = sizeof(*r);
	r->header.version = RETRANS_RECORD_VERSION;

	r->ts = a->ts ? a->ts : bpf_ktime_get_boot_ns();
	if (a->has_err) {
		r->err = a->err;
		present |= 1ull << RETRANS_FIELD_ERR;
	}
	put_addresses(r, a);
	CONNECTION_FIELDS(PUT)
	OWNER_FIELDS(PUT)
	ID_FIELDS(PUT_ID)
	if (a->tp) {
		SEGMENT_FIELDS(PUT)
		TCP_FIELDS(PUT)
		read_ca_name(a, r->ca_name);
		r->sk_err_soft = LOAD(a->sk, sk_err_soft);
		present |= 1ull << RETRANS_FIELD_SKB | 1ull << RETRANS_FIELD_TCP |
			   1ull << RETRANS_FIELD_ERR_SOFT;
	}
	r->header.present = present;
	if (with_owners)
		put_owner(r);
}

#endif /* RETRANS_RECORD_BPF_H */
