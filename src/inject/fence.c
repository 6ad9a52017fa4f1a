/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "inject.h"
#include "sys.h"
#include "uapi.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#define PATIENCE_NS	1000000000u	/* with another userfaultfd */

#define DEVICE	"/dev/userfaultfd"

static struct uffdio_range range_of(const struct bzi_fence *f)
{
	return (struct uffdio_range){ .start = (uintptr_t)f->addr,
				      .len = f->len };
}

/*
 * USER_MODE_ONLY needs no privilege, and is what we want of privileged
 * processes too: a system call on the page fails as it will on the poison,
 * where otherwise it would wait, and so would our own probes. The device is
 * for sandboxes that filter the system call.
 */
static int open_descriptor(void)
{
	int flags = O_CLOEXEC | UFFD_USER_MODE_ONLY;
	int fd = bzi_sys_userfaultfd(flags);
	int dev, r;

	if (fd == -EINVAL)		/* no such flag before Linux 5.11 */
		return -EOPNOTSUPP;
	if (fd != -EPERM && fd != -ENOSYS && fd != -EACCES)
		return fd;
	dev = bzi_sys_open(DEVICE, O_RDWR);
	if (dev < 0)
		return fd;
	r = bzi_sys_ioctl(dev, USERFAULTFD_IOC_NEW, (void *)(uintptr_t)flags);
	bzi_sys_close(dev);
	return r;
}

int bzi_fence_open(struct bzi_fence *f)
{
	struct uffdio_api api = { .api = UFFD_API };
	int r;

	*f = (struct bzi_fence){ .fd = open_descriptor() };
	if (f->fd < 0)
		return f->fd;
	r = bzi_sys_ioctl(f->fd, UFFDIO_API, &api);
	if (r)
		bzi_sys_close(f->fd);
	f->features = api.features;
	return r;
}

void bzi_fence_close(struct bzi_fence *f)
{
	bzi_fence_down(f);
	bzi_sys_close(f->fd);
}

int bzi_fence_up(struct bzi_fence *f, char *addr, size_t len, uint32_t flags)
{
	struct uffdio_register reg = {
		.range = { .start = (uintptr_t)addr, .len = len },
		.mode = UFFDIO_REGISTER_MODE_MISSING,
	};
	uint64_t until = bzi_sys_now_ns() + PATIENCE_NS;
	int r;

	if (flags & BZI_FENCE_WRITES)
		reg.mode |= UFFDIO_REGISTER_MODE_WP;
	if (flags & BZI_FENCE_SHARED)
		reg.mode |= UFFDIO_REGISTER_MODE_MINOR;
	for (;;) {
		r = bzi_sys_ioctl(f->fd, UFFDIO_REGISTER, &reg);
		if (r != -EBUSY || bzi_sys_now_ns() >= until)
			break;
		bzi_sys_nap();
	}
	if (r)
		return r == -EINVAL ? -EOPNOTSUPP : r;
	f->addr = addr;
	f->len = len;
	f->write_protected = false;
	return 0;
}

static int protect(struct bzi_fence *f, uint64_t mode)
{
	struct uffdio_writeprotect wp = { .range = range_of(f), .mode = mode };
	int r;

	do
		r = bzi_sys_ioctl(f->fd, UFFDIO_WRITEPROTECT, &wp);
	while (r == -EAGAIN);
	/* several mappings at once: Linux 6.3 */
	return r == -ENOENT ? -EOPNOTSUPP : r;
}

int bzi_fence_stop_writes(struct bzi_fence *f)
{
	int r = protect(f, UFFDIO_WRITEPROTECT_MODE_WP);

	/* even if it failed half-way: then there is something to lift */
	f->write_protected = true;
	return r;
}

int bzi_fence_forget_writes(struct bzi_fence *f)
{
	f->write_protected = false;
	return protect(f, UFFDIO_WRITEPROTECT_MODE_DONTWAKE);
}

void bzi_fence_down(struct bzi_fence *f)
{
	struct uffdio_range range = range_of(f);

	if (!f->addr)
		return;
	if (f->write_protected)
		bzi_fence_forget_writes(f);
	bzi_sys_ioctl(f->fd, UFFDIO_UNREGISTER, &range);
	/* those who wait where the mapping was moved or lost meanwhile */
	bzi_sys_ioctl(f->fd, UFFDIO_WAKE, &range);
	f->addr = NULL;
}

int bzi_discard(void *addr, size_t len)
{
	int r = bzi_sys_advise(addr, len, MADV_DONTNEED_LOCKED);

	/* before Linux 5.18 */
	return r == -EINVAL ? bzi_sys_advise(addr, len, MADV_DONTNEED) : r;
}

static int poison_piece(struct bzi_fence *f, char *addr, size_t len)
{
	size_t done = 0;

	while (done < len) {
		struct uffdio_poison poison = {
			.range = { .start = (uintptr_t)addr + done,
				   .len = len - done },
		};
		int r = bzi_sys_ioctl(f->fd, UFFDIO_POISON, &poison);

		if (!r)
			break;
		if (r != -EAGAIN)
			return r == -EINVAL ? -EOPNOTSUPP : r;
		if (poison.updated > 0)
			done += (size_t)poison.updated;
	}
	return 0;
}

int bzi_fence_poison(struct bzi_fence *f, const struct bzi_memory *m)
{
	unsigned int i;
	int r = 0;

	for (i = 0; !r && i < m->pieces; i++)
		r = poison_piece(f, m->starts[i],
				 (size_t)(m->starts[i + 1] - m->starts[i]));
	return r;
}

static int copy_in(struct bzi_fence *f, char *page, const char *bytes,
		   size_t len)
{
	struct uffdio_copy copy = {
		.dst = (uintptr_t)page,
		.src = (uintptr_t)bytes,
		.len = len,
	};
	int r;

	do
		r = bzi_sys_ioctl(f->fd, UFFDIO_COPY, &copy);
	while (r == -EAGAIN && copy.copy <= 0);
	return r;
}

/*
 * A marker is overwritten by UFFDIO_COPY itself, and a good page is not
 * (EEXIST): nothing can come in between. The entry of a real hardware poison
 * has to be dropped first; the fence makes those who touch it wait, and keeps
 * other userfaultfds from repairing it.
 */
int bzi_fence_place(struct bzi_fence *f, char *page, const char *bytes,
		    size_t len)
{
	int r = bzi_probe(page);

	if (r != -EHWPOISON)
		return 0;
	r = copy_in(f, page, bytes, len);
	if (r == -EEXIST && bzi_probe(page) == -EHWPOISON) {
		r = bzi_discard(page, len);
		if (!r)
			r = copy_in(f, page, bytes, len);
	}
	/* moved over by mremap(2) meanwhile: somebody else's good page */
	return r == -ENOENT || r == -EEXIST ? 0 : r;
}

void bzi_fence_roll_back(struct bzi_fence *f, const struct bzi_token *t)
{
	size_t at;

	for (at = 0; at < t->len; at += t->page)
		if (copy_in(f, t->addr + at, t->copy + at, t->page) == -EEXIST)
			bzi_fence_place(f, t->addr + at, t->copy + at, t->page);
}

int bzi_fence_undo(const struct bzi_token *t)
{
	struct bzi_fence f;
	size_t at;
	int r = bzi_fence_open(&f);

	if (r)
		return r;
	for (at = 0; !r && at < t->len; at += t->page) {
		if (bzi_probe(t->addr + at) != -EHWPOISON)
			continue;
		r = bzi_fence_up(&f, t->addr + at, t->page, 0);
		if (r)
			break;
		r = bzi_fence_place(&f, t->addr + at, t->copy + at, t->page);
		bzi_fence_down(&f);
	}
	bzi_fence_close(&f);
	return r;
}
