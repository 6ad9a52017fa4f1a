/* SPDX-License-Identifier: MIT */
/* What the machine can report: processor, memory controllers, firmware, KVM. */
#include "facts.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#ifndef KVM_CAP_MCE
#define KVM_CAP_MCE	31		/* asked of any kernel; x86 says yes */
#endif

#define GROUP		"machine"

#define MSR_MCG_CAP	0x179
#define MCG_BANKS	0xffull
#define MCG_SER_P	(1ull << 24)
#define MCG_LMCE_P	(1ull << 27)

#define SER_MEANS	"consumed poison can be survived (Intel)"
#define LMCE_MEANS	"a machine check goes to one processor only (Intel)"

static const char *yes(uint64_t bit)
{
	return bit ? "yes" : "no";
}

/* Words of the line "flags" or "Features" that have to do with it. */
static void processor(struct facts *facts)
{
	static const char *const words[] = {
		"mce", "mca", "overflow_recov", "succor", "ras",
	};
	static char line[8192], found[64];	/* flags fill kilobytes */
	FILE *f = fopen("/proc/cpuinfo", "re");
	size_t i;

	*found = '\0';
	*line = '\0';
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, "flags", 5) || !strncmp(line, "Features", 8))
			break;
	for (i = 0; i < sizeof(words) / sizeof(words[0]); i++) {
		char word[32];

		snprintf(word, sizeof(word), " %s ", words[i]);
		line[strcspn(line, "\n")] = ' ';
		if (strstr(line, word))
			snprintf(found + strlen(found),
				 sizeof(found) - strlen(found), "%s%s",
				 *found ? " " : "", words[i]);
	}
	fact_add(facts, GROUP, "processor flags",
		 "mce, mca: machine checks; succor: consumed poison can be "
		 "survived (AMD)",
		 f ? "%s" : NULL, *found ? found : "none of these");
	if (f)
		fclose(f);
}

static void machine_checks(struct facts *facts)
{
	int fd = open("/dev/cpu/0/msr", O_RDONLY | O_CLOEXEC);
	uint64_t cap = 0;
	int known = fd >= 0 && pread(fd, &cap, sizeof(cap), MSR_MCG_CAP) ==
		    (ssize_t)sizeof(cap);

	if (fd >= 0)
		close(fd);
	if (!known) {
		fact_add(facts, GROUP, "SER_P", SER_MEANS, NULL);
		fact_add(facts, GROUP, "LMCE_P", LMCE_MEANS, NULL);
		return;
	}
	fact_add(facts, GROUP, "machine check banks", "of the first processor",
		 "%u", (unsigned int)(cap & MCG_BANKS));
	fact_add(facts, GROUP, "SER_P", SER_MEANS, "%s", yes(cap & MCG_SER_P));
	fact_add(facts, GROUP, "LMCE_P", LMCE_MEANS, "%s",
		 yes(cap & MCG_LMCE_P));
}

static void edac(struct facts *facts)
{
	DIR *dir = opendir("/sys/devices/system/edac/mc");
	struct dirent *e;
	char names[160] = "", line[64], path[128];
	unsigned int number;

	while (dir && (e = readdir(dir))) {
		if (sscanf(e->d_name, "mc%u", &number) != 1)
			continue;
		snprintf(path, sizeof(path),
			 "/sys/devices/system/edac/mc/mc%u/mc_name", number);
		if (fact_line(path, line, sizeof(line)))
			snprintf(line, sizeof(line), "mc%u", number);
		snprintf(names + strlen(names), sizeof(names) - strlen(names),
			 "%s%s", *names ? ", " : "", line);
	}
	if (dir)
		closedir(dir);
	fact_add(facts, GROUP, "EDAC", "memory controllers whose errors the "
		 "kernel counts", "%s", *names ? names : "none");
}

static void firmware(struct facts *facts)
{
	static const struct {
		const char *table, *means;
	} tables[] = {
		{ "HEST", "the firmware says where errors are reported" },
		{ "BERT", "it keeps the error that the last boot ended with" },
		{ "ERST", "it stores records of errors" },
		{ "EINJ", "it can make the hardware err" },
	};
	int known = !access("/sys/firmware/acpi/tables", F_OK);
	char path[64];
	size_t i;

	for (i = 0; i < sizeof(tables) / sizeof(tables[0]); i++) {
		snprintf(path, sizeof(path), "/sys/firmware/acpi/tables/%s",
			 tables[i].table);
		if (known)
			fact_add(facts, GROUP, tables[i].table, tables[i].means,
				 "%s", yes(!access(path, F_OK)));
		else
			fact_add(facts, GROUP, tables[i].table, tables[i].means,
				 NULL);
	}
}

static void kvm(struct facts *facts)
{
	static const char means[] =
		"with banks a guest can be told of losses by machine checks";
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC), banks;
	uint64_t cap = 0;

	if (fd < 0) {
		fact_add(facts, GROUP, "KVM", means,
			 access("/dev/kvm", F_OK) ? "not there" : NULL);
		return;
	}
	banks = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_MCE);
	if (banks > 0 && !ioctl(fd, KVM_X86_GET_MCE_CAP_SUPPORTED, &cap))
		fact_add(facts, GROUP, "KVM", means,
			 "%d banks, SER_P %s, LMCE_P %s", banks,
			 yes(cap & MCG_SER_P), yes(cap & MCG_LMCE_P));
	else
		fact_add(facts, GROUP, "KVM", means, "no KVM_CAP_MCE");
	close(fd);
}

void facts_of_machine(struct facts *facts)
{
	long corrupted = real_corrupted();

	processor(facts);
	machine_checks(facts);
	edac(facts);
	firmware(facts);
	kvm(facts);
	if (corrupted >= 0)
		fact_add(facts, GROUP, "HardwareCorrupted",
			 "memory that was lost since the boot", "%ld KiB",
			 corrupted);
	else
		fact_add(facts, GROUP, "HardwareCorrupted",
			 "memory that was lost since the boot", "not there");
}
