# plinth: PGXS build for PostgreSQL 15 to 18
#
#	make && make install && make installcheck PG_CONFIG=...
#
# installcheck needs a running server with shared_preload_libraries = 'plinth'
# and wal_level = logical; scripts/check starts one of its own.

EXTENSION = plinth
EXTVERSION := $(shell sed -n "s/^default_version *= *'\(.*\)'/\1/p" $(dir $(firstword $(MAKEFILE_LIST)))plinth.control)
MODULE_big = plinth

# Rooms in dependency order; scripts/check_rooms knows who may include whom.
ROOMS = base secrets claims account limiter certificate audit level row \
	wire decoder presence router delivery leaderboard module worker
OBJS = $(foreach room,$(ROOMS),$(patsubst %.c,%.o,$(sort $(wildcard src/$(room)/*.c)))) \
	src/plinth.o

# The extension's script: sql/plinth/*.sql, joined in the order of their numbers.
SQL_ROOMS = $(sort $(wildcard sql/plinth/*.sql))
DATA_built = sql/plinth--$(EXTVERSION).sql

# Module scripts: one a module, joined from its folder, and one a join.
APP_MODULES = $(sort $(notdir $(patsubst %/,%,$(wildcard sql/modules/*/))))
MODULE_JOINS = $(sort $(wildcard sql/modules/*/with_*.sql))
MODULE_STEPS = $(sort $(wildcard sql/modules/*/upgrade/*.sql))
MODULE_SCRIPTS = $(foreach m,$(APP_MODULES),build/$(m)--$(EXTVERSION).sql) \
	$(foreach j,$(MODULE_JOINS),build/$(word 3,$(subst /, ,$(j))).$(basename $(notdir $(j)))--$(EXTVERSION).sql) \
	$(foreach s,$(MODULE_STEPS),build/$(word 3,$(subst /, ,$(s)))--$(notdir $(s)))

PG_CPPFLAGS = -I$(srcdir)/src -DPLINTH_VERSION='"$(EXTVERSION)"'
PG_CFLAGS = -Wextra -Wno-unused-parameter
SHLIB_LINK = -lsodium

# "setup" makes the extension and every module; the others stand alone after it.
REGRESS = setup $(filter-out setup,$(sort $(patsubst test/regress/sql/%.sql,%,$(wildcard test/regress/sql/*.sql))))
REGRESS_OPTS = --inputdir=test/regress --outputdir=test/regress
ISOLATION = $(sort $(patsubst test/isolation/specs/%.spec,%,$(wildcard test/isolation/specs/*.spec)))
ISOLATION_OPTS = --inputdir=test/isolation --outputdir=test/isolation
TAP_TESTS = 1
PROVE_TESTS = test/tap/*.pl
EXTRA_CLEAN = build sql/plinth--*.sql

PG_CONFIG ?= pg_config
PGXS := $(shell $(PG_CONFIG) --pgxs)
include $(PGXS)

sql/plinth--$(EXTVERSION).sql: $(SQL_ROOMS) plinth.control
	cat $(SQL_ROOMS) > $@

all: $(MODULE_SCRIPTS)

define module_script
build/$(1)--$(EXTVERSION).sql: $$(sort $$(wildcard sql/modules/$(1)/[0-9]*.sql)) plinth.control
	@mkdir -p build
	cat $$(sort $$(wildcard sql/modules/$(1)/[0-9]*.sql)) > $$@
endef
$(foreach m,$(APP_MODULES),$(eval $(call module_script,$(m))))

define join_script
build/$(word 3,$(subst /, ,$(1))).$(basename $(notdir $(1)))--$(EXTVERSION).sql: $(1) plinth.control
	@mkdir -p build
	cp $(1) $$@
endef
$(foreach j,$(MODULE_JOINS),$(eval $(call join_script,$(j))))

define step_script
build/$(word 3,$(subst /, ,$(1)))--$(notdir $(1)): $(1)
	@mkdir -p build
	cp $(1) $$@
endef
$(foreach s,$(MODULE_STEPS),$(eval $(call step_script,$(s))))

# Module scripts live in a folder of their own beside the extension's.
install: install-modules
install-modules: $(MODULE_SCRIPTS)
	$(MKDIR_P) '$(DESTDIR)$(datadir)/plinth'
	$(if $(strip $(MODULE_SCRIPTS)),$(INSTALL_DATA) $(MODULE_SCRIPTS) '$(DESTDIR)$(datadir)/plinth/')
uninstall: uninstall-modules
uninstall-modules:
	rm -f $(addprefix '$(DESTDIR)$(datadir)/plinth'/,$(notdir $(MODULE_SCRIPTS)))
.PHONY: install-modules uninstall-modules

# PGXS does not follow #include: any header change rebuilds every object.
$(OBJS): $(wildcard src/*/*.h) plinth.control
$(patsubst %.o,%.bc,$(OBJS)): $(wildcard src/*/*.h)

# The parts of installcheck on their own.
installcheck-regress:
	$(pg_regress_installcheck) $(REGRESS_OPTS) $(REGRESS)
installcheck-isolation:
	$(pg_isolation_regress_installcheck) $(ISOLATION_OPTS) $(ISOLATION)
.PHONY: installcheck-regress installcheck-isolation

# Fuzz the parsers for FUZZ_SECONDS (3600); builds apart from the library.
fuzz:
	PG_CONFIG='$(PG_CONFIG)' $(srcdir)/scripts/fuzz
.PHONY: fuzz
