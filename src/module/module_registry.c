/*-------------------------------------------------------------------------
 *
 * module_registry.c
 *		The modules there can be, and the scripts that are there of them.
 *
 * A script's path is built from the names of this table alone, so that no
 * caller can have another file run.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <unistd.h>

#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/builtins.h"

#include "base/names.h"
#include "module/module_internal.h"

/* In an order in which each can be installed: spec, "Install order". */
static const ModuleDef registry[] = {
	{.name = "auth", .shared = true},
	{.name = "audit", .shared = true, .needs = {"auth"}},
	{.name = "storage", .shared = true, .needs = {"auth"}},
	{.name = "jobs", .shared = true, .needs = {"auth"}},
	{.name = "profiles", .shared = true, .needs = {"auth"}},
	{.name = "realtime", .shared = true, .needs = {"auth", "profiles"}},
	{.name = "projects", .shared = false, .needs = {"profiles"}},
	{.name = "series", .shared = true},
	{.name = "coa", .shared = false, .needs = {"audit", "profiles", "series"}},
	{.name = "social", .shared = false, .needs = {"profiles"}},
	{.name = "artist", .shared = false, .needs = {"profiles"}},
};

/* A step of an upgrade on the way from one version to another. */
typedef struct UpgradeStep
{
	char *from;
	char *to;
	int previous; /* the step before it on the way, -1 for the first */
} UpgradeStep;

static List *read_upgrade_steps(const ModuleDef *module);
static char *step_script_name(const ModuleDef *module, const UpgradeStep *step);

const ModuleDef *
plinth_module_registry(int *count)
{
	*count = lengthof(registry);
	return registry;
}

/*
 * The module of that name, or NULL.
 */
const ModuleDef *
plinth_module_find(const char *name)
{
	for (int i = 0; i < (int) lengthof(registry); i++)
		if (strcmp(registry[i].name, name) == 0)
			return &registry[i];
	return NULL;
}

/*
 * The names of the modules whose scripts are there, for a message.
 */
char *
plinth_module_known_names(void)
{
	StringInfoData names;

	initStringInfo(&names);
	for (int i = 0; i < (int) lengthof(registry); i++)
	{
		if (!plinth_module_script_exists(plinth_module_script_name(&registry[i])))
			continue;
		if (names.len > 0)
			appendStringInfoString(&names, ", ");
		appendStringInfoString(&names, registry[i].name);
	}
	return names.data;
}

/*
 * The script that makes the module in the version of this library.
 */
char *
plinth_module_script_name(const ModuleDef *module)
{
	return psprintf("%s--%s.sql", module->name, PLINTH_VERSION);
}

/*
 * The script of what the module adds where the other one is there too.
 */
char *
plinth_module_join_name(const ModuleDef *module, const ModuleDef *other)
{
	return psprintf("%s.with_%s--%s.sql", module->name, other->name,
					PLINTH_VERSION);
}

/*
 * Where a script is in the file system.
 */
char *
plinth_module_script_path(const char *script)
{
	char share_path[MAXPGPATH];

	get_share_path(my_exec_path, share_path);
	return psprintf("%s/%s/%s", share_path, PLINTH_EXTENSION, script);
}

bool
plinth_module_script_exists(const char *script)
{
	return access(plinth_module_script_path(script), R_OK) == 0;
}

/*
 * The scripts of the shortest way from one version to another, in the order
 * in which they run; NIL when there is no way.
 */
List *
plinth_module_upgrade_path(const ModuleDef *module, const char *from,
						   const char *to)
{
	List *steps = read_upgrade_steps(module);
	int *queue = palloc(sizeof(int) * (list_length(steps) + 1));
	int head = 0;
	int tail = 0;

	/* breadth first; -2 marks a step that no way has reached yet */
	for (int i = 0; i < list_length(steps); i++)
	{
		UpgradeStep *step = list_nth(steps, i);

		if (step->previous == -2 && strcmp(step->from, from) == 0)
		{
			step->previous = -1;
			queue[tail++] = i;
		}
	}
	while (head < tail)
	{
		int current = queue[head++];
		UpgradeStep *reached = list_nth(steps, current);

		if (strcmp(reached->to, to) == 0)
		{
			List *scripts = NIL;

			for (int i = current; i >= 0;)
			{
				UpgradeStep *step = list_nth(steps, i);

				scripts = lcons(step_script_name(module, step), scripts);
				i = step->previous;
			}
			return scripts;
		}
		for (int i = 0; i < list_length(steps); i++)
		{
			UpgradeStep *step = list_nth(steps, i);

			if (step->previous == -2 && strcmp(step->from, reached->to) == 0)
			{
				step->previous = current;
				queue[tail++] = i;
			}
		}
	}
	return NIL;
}

/*
 * Every <module>--<from>--<to>.sql of the script folder.
 */
static List *
read_upgrade_steps(const ModuleDef *module)
{
	char *folder = plinth_module_script_path("");
	char *prefix = psprintf("%s--", module->name);
	size_t prefix_length = strlen(prefix);
	List *steps = NIL;
	DIR *dir = AllocateDir(folder);
	struct dirent *entry;

	while ((entry = ReadDirExtended(dir, folder, LOG)) != NULL)
	{
		size_t length = strlen(entry->d_name);
		UpgradeStep *step;
		char *versions;
		char *middle;

		if (strncmp(entry->d_name, prefix, prefix_length) != 0 ||
			length < prefix_length + 4 ||
			strcmp(entry->d_name + length - 4, ".sql") != 0)
			continue;
		versions =
			pnstrdup(entry->d_name + prefix_length, length - prefix_length - 4);
		middle = strstr(versions, "--");
		if (middle == NULL || strstr(middle + 2, "--") != NULL)
			continue;
		*middle = '\0';

		step = palloc(sizeof(UpgradeStep));
		step->from = versions;
		step->to = middle + 2;
		step->previous = -2;
		steps = lappend(steps, step);
	}
	FreeDir(dir);
	return steps;
}

static char *
step_script_name(const ModuleDef *module, const UpgradeStep *step)
{
	return psprintf("%s--%s--%s.sql", module->name, step->from, step->to);
}
