/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "inject.h"
#include "sys.h"

#include <errno.h>
#include <signal.h>
#include <string.h>

/* AUTO: the first of these that fits. TRUNCATE is not for AUTO, see there. */
static const uint32_t truest_first[] = {
	BEZ_INJECT_MADV, BEZ_INJECT_HWPOISON_INJECT, BEZ_INJECT_UFFD,
};

#define CHOICES	(sizeof(truest_first) / sizeof(truest_first[0]))

/* What another back end may still be able to do. */
static bool is_no_fit(int r)
{
	return r == -EOPNOTSUPP || r == -EPERM || r == -EACCES;
}

int bzi_available(uint32_t backend)
{
	const struct bzi_backend *b = bzi_backend_of(backend);
	int r = -EOPNOTSUPP;
	size_t i;

	if (b)
		return b->available();
	if (backend != BEZ_INJECT_AUTO)
		return -EINVAL;
	for (i = 0; i < CHOICES && r; i++)
		r = bzi_backend_of(truest_first[i])->available();
	return r;
}

int BZI_PUBLIC bez_inject_available(uint32_t backend)
{
	return bzi_available(backend);
}

static int try_one(const struct bzi_memory *m, uint32_t backend,
		   uint32_t flags, struct bzi_token **ret_token)
{
	const struct bzi_backend *b = bzi_backend_of(backend);
	struct bzi_token *t;
	int r = b->available();

	if (r)
		return r;
	t = bzi_token_new(m, backend, flags);
	if (!t)
		return -ENOMEM;
	r = b->put(m, t);
	if (r)
		bzi_token_free(t);
	else
		*ret_token = t;
	return r;
}

static int put(const struct bzi_memory *m, uint32_t backend, uint32_t flags,
	       struct bzi_token **ret_token)
{
	int r = -EOPNOTSUPP;
	size_t i;

	if (backend != BEZ_INJECT_AUTO)
		return try_one(m, backend, flags, ret_token);
	for (i = 0; i < CHOICES; i++) {
		r = try_one(m, truest_first[i], flags, ret_token);
		if (!is_no_fit(r))
			break;
	}
	return r;
}

static int inject(void *addr, size_t len, uint32_t backend, uint32_t flags,
		  bez_inject_t *ret_id)
{
	struct bzi_memory m;
	struct bzi_token *t;
	int r = bzi_memory_of(addr, len, &m);

	if (r)
		return r;
	if (bzi_stands_on(addr, len))
		return -EDEADLK;
	if (bzi_count(m.addr, m.len, m.page, -EHWPOISON) ||
	    bzi_count(m.addr, m.len, m.page, -EFAULT))
		return -EALREADY;
	r = put(&m, backend, flags, &t);
	if (r)
		return r;
	bzi_token_publish(t);
	*ret_id = t->id;
	return 0;
}

int BZI_PUBLIC bez_inject(void *addr, size_t len, uint32_t backend,
			  uint32_t flags, bez_inject_t *ret_token)
{
	size_t page = bzi_sys_page_size();
	bez_inject_t id = 0;
	int r;

	if (!ret_token || !len || (uintptr_t)addr % page || len % page ||
	    (uintptr_t)addr > UINTPTR_MAX - len ||
	    (flags & ~BEZ_INJECT_NO_UNDO) ||
	    (backend != BEZ_INJECT_AUTO && !bzi_backend_of(backend)))
		return -EINVAL;
	r = bzi_lock();
	if (r)
		return r;
	r = inject(addr, len, backend, flags, &id);
	bzi_unlock();
	/* the caller's memory may be lost itself: not under the lock */
	if (!r)
		*ret_token = id;
	return r;
}

static uint32_t undoable(const struct bzi_token *t)
{
	size_t i;

	if (!bzi_wants_undo(t))
		return BEZ_INJECT_UNDO_NONE;
	if (t->backend != BEZ_INJECT_MADV &&
	    t->backend != BEZ_INJECT_HWPOISON_INJECT)
		return BEZ_INJECT_UNDO_FULL;
	if (!bzi_can_unpoison())
		return BEZ_INJECT_UNDO_BYTES;
	for (i = 0; i < bzi_pages(t); i++)
		if (!t->frames[i])
			return BEZ_INJECT_UNDO_BYTES;
	return BEZ_INJECT_UNDO_FULL;
}

static void describe(const struct bzi_token *t, struct bez_inject_info *info)
{
	bool file = t->backend == BEZ_INJECT_TRUNCATE;

	info->backend = t->backend;
	info->fidelity = bez_inject_fidelity(t->backend);
	info->undo = undoable(t);
	info->addr = t->addr;
	info->len = t->len;
	info->page_size = t->page;
	info->pages = bzi_pages(t);
	info->poisoned = bzi_count(t->addr, t->len, t->page, -EHWPOISON);
	if (file)		/* what is not named so on older kernels */
		info->poisoned += bzi_count(t->addr, t->len, t->page, -EFAULT);
	info->si_code = file || !bzi_memory_failure() ? BUS_ADRERR :
							BUS_MCEERR_AR;
}

/* The caller's struct may be of another release. */
static int check_size(const struct bez_inject_info *info)
{
	const char *bytes = (const char *)info;
	size_t i;

	if (info->size < sizeof(*info))
		return -EINVAL;
	for (i = sizeof(*info); i < info->size; i++)
		if (bytes[i])
			return -E2BIG;
	return 0;
}

int BZI_PUBLIC bez_inject_state(bez_inject_t token,
				struct bez_inject_info *ret_info)
{
	struct bez_inject_info info = { .size = 0 };
	struct bzi_token *t;
	int r;

	if (!ret_info)
		return -EINVAL;
	r = check_size(ret_info);
	if (!r)
		r = bzi_lock();
	if (r)
		return r;
	t = bzi_token_find(token);
	if (t)
		describe(t, &info);
	bzi_unlock();
	if (!t)
		return -ENOENT;
	info.size = ret_info->size;
	*ret_info = info;
	return 0;
}

static int undo(bez_inject_t token)
{
	struct bzi_token *t = bzi_token_find(token);
	int r;

	if (!t)
		return -ENOENT;
	if (!bzi_wants_undo(t))
		return -EOPNOTSUPP;
	r = bzi_backend_of(t->backend)->undo(t);
	if (!r)
		bzi_token_free(t);
	return r;
}

int BZI_PUBLIC bez_inject_undo(bez_inject_t token)
{
	int r = bzi_lock();

	if (r)
		return r;
	r = undo(token);
	bzi_unlock();
	return r;
}

int BZI_PUBLIC bez_inject_forget(bez_inject_t token)
{
	struct bzi_token *t;
	int r = bzi_lock();

	if (r)
		return r;
	t = bzi_token_find(token);
	if (t) {
		bzi_keep_frames(t);
		bzi_token_free(t);
	}
	bzi_unlock();
	return t ? 0 : -ENOENT;
}
