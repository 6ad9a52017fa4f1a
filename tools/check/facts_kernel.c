/* SPDX-License-Identifier: MIT */
/* What the kernel was built with, and how it is set. */
#include "facts.h"

#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#define GROUP	"kernel"

struct option {
	const char *name, *means;
	char value[16];
};

static const struct option asked[] = {
	{ "CONFIG_MEMORY_FAILURE",
	  "without it programs are never told of a lost page", "" },
	{ "CONFIG_ARCH_SUPPORTS_MEMORY_FAILURE",
	  "what the above needs of the architecture", "" },
	{ "CONFIG_HWPOISON_INJECT",
	  "real poison by frame number, early notice, and undone", "" },
	{ "CONFIG_USERFAULTFD",
	  "pages are put in place by it, and losses emulated", "" },
	{ "CONFIG_X86_MCE", "machine checks are understood", "" },
	{ "CONFIG_ARCH_HAS_COPY_MC",
	  "the kernel survives poison in some copies of its own", "" },
	{ "CONFIG_ACPI_APEI_GHES",
	  "errors that the firmware finds first are heard of", "" },
	{ "CONFIG_ACPI_APEI_EINJ", "the hardware can be made to err", "" },
	{ "CONFIG_EDAC", "memory controllers are watched", "" },
	{ "CONFIG_HUGETLB_PAGE", "huge pages can be set aside", "" },
	{ "CONFIG_TRANSPARENT_HUGEPAGE", "huge pages come by themselves", "" },
	{ "CONFIG_RSEQ", "a lost page of thread-local storage kills", "" },
};
#define ASKED (sizeof(asked) / sizeof(asked[0]))

/* "CONFIG_X=y"; or "# CONFIG_X is not set", which is the same as none. */
static void take_line(struct option *o, const char *line)
{
	size_t i, len;

	for (i = 0; i < ASKED; i++) {
		len = strlen(o[i].name);
		if (!strncmp(line, o[i].name, len) && line[len] == '=')
			snprintf(o[i].value, sizeof(o[i].value), "%.*s",
				 (int)strcspn(line + len + 1, "\n"),
				 line + len + 1);
	}
}

static int take_all(struct option *o, FILE *f)
{
	char line[1024];
	int lines = 0;

	while (f && fgets(line, sizeof(line), f)) {
		lines++;
		take_line(o, line);
	}
	if (f)
		fclose(f);
	return lines;
}

/* /proc/config.gz, by gzip: a library to unpack it would be for this alone. */
static int take_gz(struct option *o)
{
	static char gzip[] = "gzip", args[] = "-dc",
		    path[] = "/proc/config.gz";
	char *argv[] = { gzip, args, path, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], lines = 0, status;
	pid_t pid;

	if (access(path, R_OK) || pipe(ends))
		return 0;
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
	posix_spawn_file_actions_addclose(&actions, ends[0]);
	posix_spawn_file_actions_addclose(&actions, ends[1]);
	if (posix_spawnp(&pid, gzip, &actions, NULL, argv, environ))
		pid = -1;
	close(ends[1]);
	if (pid > 0) {
		lines = take_all(o, fdopen(ends[0], "r"));
		while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
			continue;
	} else {
		close(ends[0]);
	}
	posix_spawn_file_actions_destroy(&actions);
	return lines;
}

static void configuration(struct facts *facts, const struct utsname *u)
{
	struct option o[ASKED];
	char path[128];
	size_t i;
	int known;

	memcpy(o, asked, sizeof(o));
	snprintf(path, sizeof(path), "/boot/config-%s", u->release);
	known = take_all(o, fopen(path, "re"));
	if (!known)
		known = take_gz(o);
	for (i = 0; i < ASKED; i++) {
		if (known)
			fact_add(facts, GROUP, o[i].name, o[i].means, "%s",
				 *o[i].value ? o[i].value : "n");
		else
			fact_add(facts, GROUP, o[i].name, o[i].means, NULL);
	}
}

static const struct {
	const char *name, *path, *means;
} sysctls[] = {
	{ "vm.memory_failure_recovery", "/proc/sys/vm/memory_failure_recovery",
	  "1: the kernel recovers; 0: it panics; not there: it can not" },
	{ "vm.memory_failure_early_kill",
	  "/proc/sys/vm/memory_failure_early_kill",
	  "1: all programs are told early; bezoar's worker asks by itself" },
	{ "vm.unprivileged_userfaultfd",
	  "/proc/sys/vm/unprivileged_userfaultfd",
	  "1: for everybody; 0: without privilege for user accesses only" },
	{ "vm.overcommit_memory", "/proc/sys/vm/overcommit_memory",
	  "2: fresh pages can be refused while there is memory" },
	{ "vm.max_map_count", "/proc/sys/vm/max_map_count",
	  "without userfaultfd each replaced page takes two mappings" },
	{ "transparent huge pages",
	  "/sys/kernel/mm/transparent_hugepage/enabled",
	  "the one in brackets holds" },
	{ "free huge pages", "/sys/kernel/mm/hugepages/hugepages-2048kB/"
	  "free_hugepages",
	  "of 2 MiB: each loss of one takes a free one" },
};

void facts_of_kernel(struct facts *facts)
{
	struct utsname u;
	char line[200];
	size_t i;

	uname(&u);
	fact_add(facts, GROUP, "release", "the contract was seen on those that "
		 "README.md names", "%s %s", u.release, u.machine);
	configuration(facts, &u);
	for (i = 0; i < sizeof(sysctls) / sizeof(sysctls[0]); i++) {
		const char *name = sysctls[i].name, *means = sysctls[i].means;

		if (!fact_line(sysctls[i].path, line, sizeof(line)))
			fact_add(facts, GROUP, name, means, "%s", line);
		else if (access(sysctls[i].path, F_OK))
			fact_add(facts, GROUP, name, means, "not there");
		else
			fact_add(facts, GROUP, name, means, NULL);
	}
}
