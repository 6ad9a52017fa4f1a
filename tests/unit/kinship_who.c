/* SPDX-License-Identifier: MIT */
/* Fifth room: when no connection to the daemon is made, or not this one. */
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "ladder.h"
#include "listening.h"

/* A daemon that was there has gone, and is missed; another one is there. */
static void missed(int fd)
{
	listen_there();
	open_house(fd, UINT32_MAX);
	take_in();
	if (!bz_recorder.daemon.sink.marked)
		tap_skip("no F_SETSIG here: qemu-user?");
	goes_away();
	listen_there();
	write_left(1);
	CHECK_EQ(mm->kin_wanted, 1);
}

static int connects, kept_out;

static void while_new(long nr, const long arg[6])
{
	uint32_t i, placing = 0;

	(void)arg;
	if (nr != SYS_connect && nr != SYS_dup3)
		return;
	for (i = 0; i < BZ_WALKS; i++)
		placing |= atomic_load(&mm->walk[i].placing);
	connects++;
	kept_out += placing == 1;
}

/* No child is made while there are two connections, or one that it would not know. */
static void alone(void)
{
	missed(memory_file());
	double_before(while_new);
	double_watch();
	CHECK_EQ(bz_daemon_again(mm), 1);
	double_rest();
	CHECK_EQ(connects, 2);
	CHECK_EQ(kept_out, 2);
	CHECK_EQ(mm->kin_gone, 0);
	/* while another thread forks it is no time for that */
	atomic_store(&mm->kin_wanted, 1);
	atomic_store(&mm->gate, 1);
	double_watch();
	CHECK_EQ(bz_daemon_again(mm), 1);
	double_rest();
	CHECK_EQ(connects, 2);
}

/* The program has shut itself in meanwhile: no connection is looked for, which would
 * be the end of it. */
static void sandboxed(void)
{
	int fd = memory_file();

	missed(fd);
	shut_in(1);
	CHECK_EQ(bz_daemon_again(mm), 1);
	CHECK_EQ(mm->kin_gone, 1);
	write_one(2);
	CHECK_EQ(length(fd), 2 * BEZ_RECORD_BYTES);
}

/* What was there at the start allows what it allows: services are in a sandbox, and
 * have a daemon. */
static void sandboxed_before(void)
{
	missed(memory_file());
	/* one that forbids nothing, as if it had been there */
	shut_in(0);
	bz_recorder.daemon.sandbox = bz_sandbox_now();
	CHECK_EQ(bz_daemon_again(mm), 1);
	CHECK_EQ(mm->kin_gone, 0);
	/* and one more, by who could gain privileges until then */
	bz_recorder.daemon.sandbox.no_new_privs = 0;
	goes_away();
	write_one(2);
	atomic_store(&mm->kin_wanted, 1);
	listen_there();
	CHECK_EQ(bz_daemon_again(mm), 1);
	CHECK_EQ(mm->kin_gone, 1);
}

/* Another user listens there: who is at it from the start, who comes later. */
static void stranger(void)
{
	char byte;
	int fd = memory_file(), later = tap_data() != NULL;

	if (later) {
		listen_there();
		open_house(fd, UINT32_MAX);
		if (!bz_recorder.daemon.sink.marked)
			tap_skip("no F_SETSIG here: qemu-user?");
		goes_away();
		write_one(1);
	}
	stranger_listens();
	if (later)
		CHECK_EQ(bz_daemon_again(mm), 1);
	else
		open_house(fd, UINT32_MAX);
	write_one(2);
	CHECK_EQ(mm->kin_gone, 1);
	CHECK_EQ(length(fd), (1 + later) * BEZ_RECORD_BYTES);
	CHECK_EQ(mm->records_sent, 0);
	/* even if it were taken for connected */
	atomic_store(&mm->kin_gone, 0);
	write_one(3);
	CHECK_EQ(length(fd), (2 + later) * BEZ_RECORD_BYTES);
	take_in();
	CHECK_EQ(recv(peer, &byte, 1, 0), 0);
}

static const struct tap_case cases[] = {
	{ .name = "no child knows two", .run = alone },
	{ .name = "in a sandbox by now", .run = sandboxed },
	{ .name = "in a sandbox from the start", .run = sandboxed_before },
	{ .name = "a stranger's", .run = stranger },
	{ .name = "a stranger's, later", .run = stranger, .data = "" },
};
TAP_MAIN(cases)
