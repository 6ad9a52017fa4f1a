/* SPDX-License-Identifier: MIT */
/*
 * Fifth room: the two records of a shutdown, and who is at the other end by then:
 * another daemon, a stranger, nobody who could be reached, or whatever fails. No
 * daemon says anything here, so both are in the file.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "finishing.h"

static struct bez_record got[2];

/* Another daemon, while the hooks run: it gets both. */
static void restarted(void)
{
	begin_end(PATIENCE_NS);
	bz_recorder.last.begun_ns = 1;
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	goes_away();
	listen_there();
	bz_recorder.last.end_ns = 1;
	write_end(BEZ_OUTCOME_SHUTDOWN);
	take_in();
	CHECK(recv(peer, &got[0], sizeof(got[0]), 0) == BEZ_RECORD_BYTES);
	CHECK(recv(peer, &got[1], sizeof(got[1]), 0) == BEZ_RECORD_BYTES);
	CHECK_EQ(got[0].outcome, BEZ_OUTCOME_SHUTDOWN_BEGUN);
	CHECK_EQ(got[1].outcome, BEZ_OUTCOME_SHUTDOWN);
	CHECK_EQ(recv(peer, &got[0], sizeof(got[0]), 0), 0);
	both_written();
}

static int connects, kept_out;

static void while_new(long nr, const long arg[6])
{
	(void)arg;
	connects += nr == SYS_socket;
	kept_out += nr == SYS_socket && atomic_load(&mm->walk[0].placing);
}

/* No child is made before it is known which connection that must not have. */
static void alone(void)
{
	begin_end(SHORT_NS);
	double_before(while_new);
	double_watch();
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	double_rest();
	CHECK_EQ(connects, 1);
	CHECK_EQ(kept_out, 1);
	CHECK_EQ(atomic_load(&mm->walk[0].placing), 0);
}

/* The program has shut itself in: by the connection that it has, and the file. */
static void sandboxed(void)
{
	begin_end(PATIENCE_NS);
	take_in();
	shut_in(1);
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	write_end(BEZ_OUTCOME_SHUTDOWN);
	both_written();
	CHECK(recv(peer, &got[0], sizeof(got[0]), 0) == BEZ_RECORD_BYTES);
	CHECK(recv(peer, &got[1], sizeof(got[1]), 0) == BEZ_RECORD_BYTES);
	CHECK_EQ(got[1].outcome, BEZ_OUTCOME_SHUTDOWN);
}

/* A stranger, while the hooks run: it gets nothing, whatever it says. */
static void stranger(void)
{
	begin_end(PATIENCE_NS);
	goes_away();
	stranger_listens();
	unit_patience(20);
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	write_end(BEZ_OUTCOME_SHUTDOWN);
	both_written();
	take_in();
	CHECK_EQ(recv(peer, got, sizeof(got[0]), 0), 0);
}

static int number_now;

/* Another thread of the program's has taken the number for a file of its own. */
static void takes_number(long nr, const long arg[6])
{
	(void)arg;
	if (nr != SYS_ppoll)
		return;
	number_now = bz_recorder.last.sink.fd;
	CHECK_EQ(dup2(memory_file(), number_now), number_now);
}

/* Nothing is read from what is not ours any more. */
static void not_ours(void)
{
	uint32_t i;

	begin_end(SHORT_NS);
	unit_patience(20);
	double_before(takes_number);
	double_watch();
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	write_end(BEZ_OUTCOME_SHUTDOWN);
	double_rest();
	double_before(NULL);
	CHECK(number_now);
	for (i = double_traced(); i-- > 0;)
		if (double_trace(i)->nr == SYS_ppoll)
			break;
	for (; i < double_traced(); i++)
		CHECK(double_trace(i)->nr != SYS_recvfrom);
	CHECK(fcntl(number_now, F_GETFD) >= 0);
	both_written();
}

/* The last is not the first's: an answer to one is none to the other. And it is by
 * the usual way that it is told where no other connection can be made. */
static void no_socket(void)
{
	static const struct double_rule rule = { .nr = SYS_socket,
						 .err = EMFILE };
	int usual;

	begin_end(PATIENCE_NS);
	usual = accept(listener, NULL, NULL);
	CHECK(usual >= 0);
	double_rule(&rule);
	double_watch();
	write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
	write_end(BEZ_OUTCOME_SHUTDOWN);
	double_rest();
	CHECK_EQ(double_lies(), 2);
	both_written();
	CHECK(recv(usual, got, sizeof(got), 0) == BEZ_RECORD_BYTES);
	CHECK(recv(usual, got, sizeof(got), 0) == BEZ_RECORD_BYTES);
}

/* Whatever fails, it comes to its end, and the file has it unless that failed. */
static void calls_fail(void)
{
	uint32_t n, whole = 0, writes = 0;

	for (n = 1;; n++) {
		begin_end(1000000);
		/* to know the file again, and to write, perhaps in two ways */
		writes = bz_recorder.sink.marked ? 2 : 3;
		double_reset();
		double_fail(n, EIO);
		double_watch();
		write_end(BEZ_OUTCOME_SHUTDOWN_BEGUN);
		write_end(BEZ_OUTCOME_SHUTDOWN);
		double_rest();
		whole += length(file) == 2 * BEZ_RECORD_BYTES;
		bz_record_close();
		goes_away();
		if (!double_lies())
			break;
	}
	tap_diag("%u calls, both records %u times", n - 1, whole);
	CHECK(n > 12);
	CHECK(whole >= n - 2 * writes);
}

static const struct tap_case cases[] = {
	{ .name = "it is another by the end", .run = restarted },
	{ .name = "it is a stranger by the end", .run = stranger },
	{ .name = "no child has it", .run = alone },
	{ .name = "in a sandbox", .run = sandboxed },
	{ .name = "another thread takes its number", .run = not_ours },
	{ .name = "no connection can be made", .run = no_socket },
	{ .name = "whatever fails", .run = calls_fail },
};
TAP_MAIN(cases)
