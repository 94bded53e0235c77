# Sourced: how long a rank's threads spin when they wait for each other before they sleep. By default it is so long that
# with other programs on the cores a step was seen to take more than ten times as long.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-3000}
