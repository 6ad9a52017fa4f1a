/* SPDX-License-Identifier: MIT */
#include "source/source.h"

#include <errno.h>
#include <string.h>

#include "core/core.h"
#include "core/guard.h"
#include "source/digest.h"
#include "worker/defer.h"

/* What one source is asked for. */
struct order {
	struct bz_mm *mm;
	struct bz_walk *walk;
	const struct bz_source *source;
	const struct bz_source *end;	/* behind the last in the list */
	const struct bz_share *share;	/* the file behind the region, or NULL */
	uint64_t offset;		/* of the extent in the region */
	uint64_t len;
	uint64_t taken_ns;
	void *from;			/* where the content is built */
	const uint64_t *digests;	/* of its pages; NULL: none */
	uint8_t salvage;		/* the file may be read */
	uint8_t in_place;		/* may be left in a mirror; is it? */
};

static enum bez_outcome ask(struct order *o);

/* ---- each returns 0 or a negative errno, or is abandoned (core/guard.h) */

/*
 * What is used from where it lies is read all the same, at its first and its last
 * byte: that it is lost comes out here, where others are not waiting in the kernel
 * yet. Two pages that are each other's mirrors would wait for each other there.
 */
static int from_mirror(void *arg)
{
	struct order *o = arg;
	char *at = (char *)o->source->mirror + o->offset;

	if (o->in_place) {
		(void)*(volatile char *)at;
		(void)*(volatile char *)(at + o->len - 1);
		o->from = at;
		return 0;
	}
	memcpy(o->from, at, o->len);
	return 0;
}

static int from_zero(void *arg)
{
	struct order *o = arg;

	memset(o->from, 0, o->len);
	return 0;
}

/* Programs close descriptors that are not theirs; the number may stand for
 * another file by now. Asked afterwards, as it may happen at any time. */
static int same_file(const struct bz_source *s)
{
	struct bz_file_id id;

	return !bz_file_id(s->fd, &id) && id.dev == s->file_dev &&
	       id.ino == s->file_ino;
}

static int from_file(void *arg)
{
	struct order *o = arg;
	uint64_t done = 0;

	while (done < o->len) {
		long r = bz_pread(o->source->fd, (char *)o->from + done,
				  o->len - done,
				  o->source->offset + o->offset + done);

		if (r == -EINTR)
			continue;
		if (r < 0)
			return (int)r;
		if (!r)
			break;
		done += (uint64_t)r;
	}
	if (!same_file(o->source))
		return -EBADF;
	if (done < o->len) {
		if (!(o->source->flags & BEZ_SOURCE_EOF_ZERO))
			return -ENODATA;
		memset((char *)o->from + done, 0, o->len - done);
	}
	return 0;
}

static int from_callback(void *arg)
{
	struct order *o = arg;

	/* what it says is its own affair: numbers mean something here */
	return o->source->fill(o->from, o->len, o->offset, o->source->arg) ?
	       -EIO : 0;
}

/* The worker has room for a page. Where we are the worker ourselves, it is built
 * in its place. */
static int from_worker(void *arg)
{
	struct order *o = arg;
	uint64_t at;
	int r;

	if (o->len <= bz_core.page)
		return bz_defer(o->mm, o->walk, o->source, o->offset, o->len,
				o->taken_ns, &o->from);
	for (at = 0; at < o->len; at += bz_core.page) {
		void *to = (char *)o->from + at, *from = to;

		r = bz_defer(o->mm, o->walk, o->source, o->offset + at,
			     bz_core.page, o->taken_ns, &from);
		if (r)
			return r;
		if (from == to)
			continue;
		memcpy(to, from, bz_core.page);
		memset(from, 0, bz_core.page);	/* it may have been a secret */
	}
	return 0;
}

/* One page of a huge one: from the first of the others that has it. */
static int from_the_next(const struct order *whole, uint64_t at)
{
	enum bez_outcome why;
	struct order o = *whole;

	o.offset += at;
	o.len = bz_core.page;
	o.in_place = 0;
	if (o.digests)
		o.digests += at >> bz_core.page_shift;
	while (++o.source < o.end) {
		o.from = (char *)whole->from + at;
		why = ask(&o);
		if (why != BEZ_OUTCOME_NONE)
			continue;
		if (o.from != (char *)whole->from + at) {
			memcpy((char *)whole->from + at, o.from, o.len);
			memset(o.from, 0, o.len);
		}
		return 0;
	}
	return -ENODATA;
}

/*
 * Of a huge page of a file the kernel reads what is good, up to the page that is
 * not, and says EIO there (6.6; before that, everywhere).
 */
static int from_wreck(void *arg)
{
	struct order *o = arg;
	uint64_t at = 0, left;
	long r;

	if (!o->salvage || !o->share || o->share->fd < 0 ||
	    o->len <= bz_core.page)
		return -ENODATA;
	while (at < o->len) {
		r = bz_pread(o->share->fd, (char *)o->from + at, o->len - at,
			     o->share->offset + o->offset + at);
		if (r == -EINTR)
			continue;
		if (!r || (r < 0 && r != -EIO))
			return -ENODATA;
		if (r > 0) {
			at += (uint64_t)r;
			continue;
		}
		left = at & (bz_core.page - 1);
		at -= left;		/* what came of a bad page is none */
		if (from_the_next(o, at))
			return -ENODATA;
		at += bz_core.page;
	}
	return 0;
}

static int check(void *arg)
{
	struct order *o = arg;
	uint64_t at;

	for (at = 0; at < o->len; at += bz_core.page)
		if (bz_digest((char *)o->from + at, bz_core.page) !=
		    o->digests[at >> bz_core.page_shift])
			return -EBADMSG;
	return 0;
}

/* Does it read the file that is behind the region itself? */
static int is_own_file(const struct order *o)
{
	return o->share && o->source->kind == BEZ_SOURCE_FILE &&
	       o->source->file_dev == o->share->dev &&
	       o->source->file_ino == o->share->ino;
}

static enum bez_outcome ask(struct order *o)
{
	static int (*const how[])(void *) = {
		[BEZ_SOURCE_ZERO] = from_zero,
		[BEZ_SOURCE_MIRROR] = from_mirror,
		[BEZ_SOURCE_FILE] = from_file,
		[BEZ_SOURCE_CALLBACK] = from_callback,
		[BEZ_SOURCE_DEFERRED] = from_worker,
		[BEZ_SOURCE_SALVAGE] = from_wreck,
	};
	int r;

	/* what was lost before it was written back, the disk has not */
	if (is_own_file(o) && !o->digests)
		return BEZ_OUTCOME_SOURCE_STALE;
	r = bz_guarded(o->walk, how[o->source->kind], o);
	if (!r && o->digests)
		r = bz_guarded(o->walk, check, o);
	switch (r) {
	case 0:
		return BEZ_OUTCOME_NONE;
	case BZ_GUARD_LOST:
		return BEZ_OUTCOME_SOURCE_LOST;
	case -EBADMSG:
		return BEZ_OUTCOME_SOURCE_DIGEST;
	default:
		break;
	}
	if (o->source->kind == BEZ_SOURCE_DEFERRED && r == -ETIMEDOUT)
		return BEZ_OUTCOME_SOURCE_DEADLINE;
	if (o->source->kind == BEZ_SOURCE_DEFERRED && r == -EBUSY)
		return BEZ_OUTCOME_SOURCE_WORKER;
	return BEZ_OUTCOME_SOURCE_FAILED;
}

enum bez_outcome bz_source_fill(struct bz_mm *mm, struct bz_walk *w,
				const struct bz_hit *hit, struct bz_extent x,
				uint64_t taken_ns, struct bz_content *content)
{
	enum bez_outcome why = BEZ_OUTCOME_SOURCE_NONE;
	void *stage = content->from;
	/* what is checked must be what is used; and more than a page has been looked
	 * at by the caller, or is built */
	int may_stay = content->in_place && !hit->digests &&
		       x.width == bz_core.page;
	struct order o = {
		.mm = mm,
		.walk = w,
		.end = hit->source + hit->sources,
		.share = hit->share,
		.offset = x.start - hit->start,
		.len = x.width,
		.taken_ns = taken_ns,
		.salvage = content->salvage,
	};

	if (hit->digests)
		o.digests = &hit->digests[o.offset >> bz_core.page_shift];
	content->kind = BEZ_SOURCE_NONE;
	content->in_place = 0;
	for (o.source = hit->source; o.source < o.end; o.source++) {
		o.from = stage;
		o.in_place = may_stay && o.source->kind == BEZ_SOURCE_MIRROR;
		content->kind = o.source->kind;
		why = ask(&o);
		if (why == BEZ_OUTCOME_NONE) {
			content->from = o.from;
			content->in_place = o.in_place;
			content->own_file = (uint8_t)is_own_file(&o);
			return why;
		}
		/* it may have been a secret, and the next may leave the stage
		 * as it is */
		if (!o.in_place)
			memset(o.from, 0, x.width);
	}
	return why;
}

void *bz_source_in_place(const struct bz_hit *hit, struct bz_extent x)
{
	if (!hit->sources || hit->source->kind != BEZ_SOURCE_MIRROR ||
	    hit->digests)
		return NULL;
	return (char *)hit->source->mirror + (x.start - hit->start);
}
