/* SPDX-License-Identifier: MIT */
#define _GNU_SOURCE
#include "ring.h"

#include <errno.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tap.h"

static struct {
	int fd;
	struct io_uring_params params;
	unsigned char *sq, *cq;
	struct io_uring_sqe *sqes;
} ring = { .fd = -1 };

static void *map(size_t len, uint64_t offset)
{
	void *at = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED, ring.fd,
			(off_t)offset);

	CHECK(at != MAP_FAILED);
	return at;
}

void ring_open(void)
{
	const struct io_uring_params *p = &ring.params;

	ring.fd = (int)syscall(SYS_io_uring_setup, 4, &ring.params);
	if (ring.fd < 0)
		tap_skip("io_uring is not to be had here: %s (see "
			 "kernel.io_uring_disabled, seccomp)",
			 strerror(errno));
	ring.sq = map(p->sq_off.array + p->sq_entries * 4, IORING_OFF_SQ_RING);
	ring.cq = map(p->cq_off.cqes +
		      p->cq_entries * sizeof(struct io_uring_cqe),
		      IORING_OFF_CQ_RING);
	ring.sqes = map(p->sq_entries * sizeof(*ring.sqes), IORING_OFF_SQES);
}

static uint32_t *in(unsigned char *base, uint32_t offset)
{
	return (uint32_t *)(void *)(base + offset);
}

int ring_do(const struct io_uring_sqe *request)
{
	const struct io_uring_params *p = &ring.params;
	uint32_t *tail = in(ring.sq, p->sq_off.tail);
	uint32_t *head = in(ring.cq, p->cq_off.head);
	uint32_t slot = *tail & (p->sq_entries - 1);
	const struct io_uring_cqe *done;
	int result;

	ring.sqes[slot] = *request;
	in(ring.sq, p->sq_off.array)[slot] = slot;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	CHECK_EQ(syscall(SYS_io_uring_enter, ring.fd, 1, 1,
			 IORING_ENTER_GETEVENTS, NULL, 0), 1);
	CHECK(__atomic_load_n(in(ring.cq, p->cq_off.tail),
			      __ATOMIC_ACQUIRE) != *head);
	done = (const struct io_uring_cqe *)(const void *)
	       (ring.cq + p->cq_off.cqes) + (*head & (p->cq_entries - 1));
	result = done->res;
	__atomic_store_n(head, *head + 1, __ATOMIC_RELEASE);
	return result;
}

int ring_fix(void *at, size_t len)
{
	struct iovec buffer = { at, len };

	return syscall(SYS_io_uring_register, ring.fd, IORING_REGISTER_BUFFERS,
		       &buffer, 1) ? -errno : 0;
}

int ring_unfix(void)
{
	return syscall(SYS_io_uring_register, ring.fd,
		       IORING_UNREGISTER_BUFFERS, NULL, 0) ? -errno : 0;
}
