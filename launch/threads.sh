# Sourced: how long a rank's threads spin when they wait for each other before they sleep. By default it is so long that
# with any other program on the cores a step takes ten to thirty times as long; this costs an idle machine nothing.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-3000}
