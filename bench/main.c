/* SPDX-License-Identifier: MIT */
/*
 * bench [--list] [--quick] [--json FILE] [QUESTION...]: ask all questions or
 * those named, each in a process of its own. A target that is missed is a
 * result, not a failure; the exit status is 1 only if nothing could be asked
 * or the result could not be written.
 */
#include "questions.h"
#include "report.h"

#include <errno.h>
#include <math.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define PATIENCE_S 300	/* for one question */

static const struct bench_question *const all[] = {
	&bench_resume_4k,
	&bench_resume_4k_1m,
	&bench_resume_2m,
	&bench_resume_shared,
	&bench_resume_file,
	&bench_salvage_2m,
	&bench_record,
	&bench_lookup_1m,
	&bench_register_1m,
	&bench_deferred,
	&bench_idle,
	&bench_storm,
	&bench_copy,
	&bench_copy_worst,
	&bench_copy_fault,
	&bench_unwind,
	&bench_scope,
	&bench_lost_in,
	&bench_hunt,
#ifdef BENCH_KV
	&bench_kv,
#endif
#ifdef BENCH_HAVE_KIN
	&bench_kin_rate,
#endif
#ifdef BENCH_HAVE_VMM
	&bench_vm_deliver,
	&bench_vm_translate_4k_slots,
	&bench_vm_exit_cost,
#endif
};

#define ALL (sizeof(all) / sizeof(all[0]))

static void in_child(const struct bench_question *question, bool quick,
		     struct bench_result *shared)
{
	struct bench_result result = { NAN, NAN, NAN, "" };
	struct rlimit none = { 0, 0 };
	int err;

	setrlimit(RLIMIT_CORE, &none);
	alarm(PATIENCE_S);
	err = bench_pin(0);
	if (err < 0)
		bench_cannot(&result, "pinning to a processor", err);
	else
		question->run(quick, &result);
	*shared = result;
	_exit(0);
}

/* A question whose process dies has its end for an answer. */
static void ask(const struct bench_question *question, bool quick,
		struct bench_result *shared)
{
	int status = 0;
	pid_t pid;

	*shared = (struct bench_result){ NAN, NAN, NAN, "" };
	pid = fork();
	if (pid == 0)
		in_child(question, quick, shared);
	if (pid < 0 || waitpid(pid, &status, 0) < 0)
		bench_cannot(shared, "starting its process", -errno);
	else if (WIFSIGNALED(status))
		bench_say(shared, "Not measured: its process was ended by "
			  "signal %d (%s)%s. ", WTERMSIG(status),
			  strsignal(WTERMSIG(status)),
			  WTERMSIG(status) == SIGALRM ? ": it took too long"
						      : "");
}

static int write_json(const char *path,
		      const struct bench_question *const *questions,
		      const struct bench_result *results, size_t count)
{
	FILE *out = fopen(path, "w");

	if (out)
		report_json(out, questions, results, count);
	if (out && fclose(out) == 0)
		return 0;
	fprintf(stderr, "bench: cannot write %s: %s\n", path, strerror(errno));
	return 1;
}

static const struct bench_question *find(const char *name)
{
	for (size_t i = 0; i < ALL; i++)
		if (strcmp(all[i]->name, name) == 0)
			return all[i];
	return NULL;
}

int main(int argc, char **argv)
{
	const struct bench_question *chosen[ALL] = { NULL };
	struct bench_result *shared, results[ALL];
	const char *json = NULL;
	bool quick = false;
	size_t count = 0;

	for (int i = 1; i < argc; i++) {
		if (strcmp(argv[i], "--list") == 0) {
			for (size_t j = 0; j < ALL; j++)
				puts(all[j]->name);
			return 0;
		}
		if (strcmp(argv[i], "--quick") == 0) {
			quick = true;
		} else if (strcmp(argv[i], "--json") == 0 && argv[i + 1]) {
			json = argv[++i];
		} else if (count < ALL && find(argv[i])) {
			chosen[count++] = find(argv[i]);
		} else {
			fprintf(stderr, "bench: no question or option \"%s\" "
				"here; --list names them\n", argv[i]);
			return 1;
		}
	}
	for (size_t i = 0; count == 0 && i < ALL; i++)
		chosen[i] = all[i];
	count = count ? count : ALL;
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED || bench_pin(0) < 0 || bench_calibrate() < 0) {
		fprintf(stderr, "bench: cannot set up: %s\n", strerror(errno));
		return 1;
	}
	report_head(stdout);
	for (size_t i = 0; i < count; i++) {
		ask(chosen[i], quick, shared);
		results[i] = *shared;
		report_row(stdout, chosen[i], &results[i]);
	}
	return json ? write_json(json, chosen, results, count) : 0;
}
